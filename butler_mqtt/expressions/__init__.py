"""
The language of rules: CEL expressions within bounds, and templates that hold them.

Pure: from text and values to values; no clock, no environment, no file.
"""
