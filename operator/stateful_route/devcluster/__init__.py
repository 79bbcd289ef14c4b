"""A Kubernetes control plane and an embedded store on this machine, for the demo and the tests."""
