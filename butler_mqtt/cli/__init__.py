"""The command line: one module for each command, and what they share; the home of typer and rich."""
