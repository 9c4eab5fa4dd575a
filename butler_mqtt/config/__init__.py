"""The configuration file: YAML with its lines, the schema, rules across keys; the home of PyYAML."""
