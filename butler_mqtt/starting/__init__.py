"""From planned starts to executions and their end: queues, POSTs, reconciliation, tracking."""
