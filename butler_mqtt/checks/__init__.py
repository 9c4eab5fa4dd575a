"""Checks of a configuration: each module tests one part and yields findings."""
