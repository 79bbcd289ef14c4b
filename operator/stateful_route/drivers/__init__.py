"""The data plane: what callers and routed pods import."""
