"""Reviews: what senders ask for, held against what the Qlik server has; starts nothing."""
