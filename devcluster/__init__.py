"""A real Kubernetes on one Linux machine: upstream components, nodes in namespaces, RBAC on.

Standard library only: it runs with the system's Python before any environment exists.
"""
