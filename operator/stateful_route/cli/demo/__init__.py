"""``stateful-route demo``: the whole story on one machine; needs nothing running."""
