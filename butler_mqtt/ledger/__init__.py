"""The only writer of states: requests, starts, runs, deliveries, gathered in a unit of work."""
