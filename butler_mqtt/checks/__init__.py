"""
Proof that a configuration works: each module tries one side and says what it found.

    finding   what one trial showed, and what to do about it
    broker    login, subscription, messages kept while we are away, replies
    qlik      certificates, name, user, rights, how this site behaves
    local     the journal's folder, the clock
"""
