"""Measurements against targets: `python -m bench.X` prints a table, records it, and fails when one is missed."""
