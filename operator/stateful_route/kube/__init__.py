"""Thin Kubernetes access: list pods, read secrets, write status and Events."""
