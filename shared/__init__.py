"""The language of the system: domain values, ports, adapters, and the tests' own tools."""
