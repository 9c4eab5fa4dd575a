"""
Proof that a configuration works: each module tries one side and says what it found.

    finding   what one trial showed, and what to do about it
    broker    login, subscription, messages kept while we are away, replies
    qlik      connection, clock, user, rights, allow-list
    certificates    our files, and the certificate that the Qlik server shows
    site      how this Qlik site behaves where no documentation says it
    local     the journal's folder
"""
