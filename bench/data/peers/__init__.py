"""Programs that run in processes and environments of their own; they import nothing of this repository."""
