"""A simulated Qlik Sense Repository Service: tasks, filters, executions, and injected faults."""
