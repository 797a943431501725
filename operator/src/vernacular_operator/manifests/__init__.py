"""Builders of Kubernetes objects as plain dictionaries."""
