"""Proof that a configuration works: each module tries one side and says what it found."""
