"""Measurements against targets: each `python -m bench.X` prints a table, records it and fails when a target is missed."""
