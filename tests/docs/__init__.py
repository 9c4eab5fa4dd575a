"""The documentation is held to the program."""
