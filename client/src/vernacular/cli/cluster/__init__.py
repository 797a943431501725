"""Access to the cluster: which one, with which credentials, and requests to its API server."""
