"""
What the commands of the command line do; `cli` reads their arguments.

    pages     where the documentation is
    printing  results for people and for programs
    start     ask a running daemon over MQTT
    outcomes  how the tasks of a request get on, from replies and events
    waiting   show that until all have ended
    resolve   ask the Qlik server which tasks a request means
"""
