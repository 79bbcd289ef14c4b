"""Stores as people run them: three Sentinels, a Cluster with replicas, one address before two servers, a DNS name."""
