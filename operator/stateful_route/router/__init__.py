"""The route manager: placement and the one migration loop that moves links off a pod."""
