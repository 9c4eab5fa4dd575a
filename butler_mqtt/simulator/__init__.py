"""A stand-in for the Qlik Sense Repository Service: tasks, filters, executions, and planted faults."""
