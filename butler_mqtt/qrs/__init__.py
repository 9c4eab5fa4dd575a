"""The Qlik Repository Service (QRS): resolve tasks, start them, read executions; home of requests."""
