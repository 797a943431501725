"""The Kubernetes API as plain dictionaries, behind a protocol of a few verbs."""
