"""What the journal knows of a request, in words for operators: timeline, summary, what to ask again. Pure."""
