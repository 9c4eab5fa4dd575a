"""The Qlik Repository Service (QRS): find tasks, start them, read executions: home of requests, tenacity."""
