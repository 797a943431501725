"""Checks of rows: pure functions, one policy a module. Each says which rows it is about by index or place."""
