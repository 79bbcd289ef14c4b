"""Gather facts, ask the domain, write the difference: one reconciler per StatefulRoute."""
