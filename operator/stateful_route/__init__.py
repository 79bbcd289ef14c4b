"""Stateful routing: each user reaches the pod that holds its state, also when pods drain or die."""

__version__ = "0.1.0"
