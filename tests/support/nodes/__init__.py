"""Real nodes: containerd, kubelet and kube-proxy in network namespaces of their own, with their images."""
