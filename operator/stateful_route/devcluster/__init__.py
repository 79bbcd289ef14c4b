"""A Kubernetes control plane and an embedded store on this machine, for the demo and the tests."""

from stateful_route.devcluster.control_plane import ControlPlane
from stateful_route.devcluster.crd import apply_crd
from stateful_route.devcluster.embedded_store import EmbeddedStore, StoreServer, find_servers
from stateful_route.devcluster.errors import DevClusterError

__all__ = ["ControlPlane", "DevClusterError", "EmbeddedStore", "StoreServer", "apply_crd", "find_servers"]
