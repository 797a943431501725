"""MLflow as the operator needs it: one run per job, opened once, read in batches, closed truthfully."""
