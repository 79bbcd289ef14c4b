"""The route manager: placement, health checks, failures, and the one migration loop that moves links off a pod."""
