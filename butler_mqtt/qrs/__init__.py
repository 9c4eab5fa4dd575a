"""The Qlik Repository Service (QRS): find tasks, start them, see what became of them; the home of requests and tenacity."""
