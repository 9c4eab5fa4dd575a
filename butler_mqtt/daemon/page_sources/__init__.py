"""What the page shows, read from the journal and from the parts of the daemon."""
