"""Commands that look at services through Kubernetes and the store together, and ask for drains and rebalances."""
