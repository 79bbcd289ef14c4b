"""Real nodes on this machine: containerd, kubelet and kube-proxy in network namespaces of their own, and their images."""
