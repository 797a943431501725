"""Decisions: pure functions from a snapshot of the world to a plan."""
