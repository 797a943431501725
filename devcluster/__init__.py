"""A real Kubernetes on one Linux machine: upstream components, two nodes in their own namespaces, certificates and RBAC on.

Standard library only: it runs with the system's Python before any environment exists.
"""
