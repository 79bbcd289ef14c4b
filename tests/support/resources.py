"""Resources as the API server would send them."""

from typing import Any

from stateful_route.api.statefulroute import StatefulRoute


def route(name: str, namespace: str, **spec: Any) -> StatefulRoute:
    """A StatefulRoute whose spec has these fields."""
    metadata = {
        "name": name,
        "namespace": namespace,
        "uid": "route",
        "resourceVersion": "1",
        "generation": 1,
        "creationTimestamp": "2026-01-01T00:00:00Z",
    }
    return StatefulRoute.parse(
        {"apiVersion": "statefulroute.io/v1alpha1", "kind": "StatefulRoute", "metadata": metadata, "spec": spec}
    )
