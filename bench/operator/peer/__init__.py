"""Another operator measured beside ours, on the same machine in the same run: JobSet and Kubeflow Trainer on it."""
