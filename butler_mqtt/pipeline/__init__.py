"""The one loop that owns all state, the queue it reads, and what it does at a start and after a fault."""
