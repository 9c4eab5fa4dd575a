"""Bytes <-> values: what a request may say, and what replies and task events say; the home of jsonschema."""
