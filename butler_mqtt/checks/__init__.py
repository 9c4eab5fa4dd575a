"""
Proof that a configuration works: each module tries one side and says what it found.

    finding   what one trial showed, and what to do about it
    broker        subscription, messages kept while we are away, replies
    login         what keeps us out of the broker
    limits        what the broker grants, and whether it is enough
    encryption    our certificate for the broker, and the one that the broker shows
    qlik          connection, clock, user, rights, allow-list
    certificates  our files for Qlik, and the certificate that the Qlik server shows
    validity      what the two have in common: names, days, keys
    site          how this Qlik site behaves where no documentation says it
    listing       what its lists of tasks show
    local         the journal: folder, disk, format
"""
