"""From any message to a request: what a rule says of one message, and which rules a message is for."""
