"""
What the commands of the command line do; `cli` reads their arguments.

    printing  results for people and for programs
    start     ask a running daemon over MQTT
    resolve   ask the Qlik server which tasks a request means
"""
