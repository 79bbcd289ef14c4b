"""The CRD that ships with this version."""

from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from stateful_route.resources import shipped


def load_crd() -> dict[str, Any]:
    """The CustomResourceDefinition of StatefulRoute, as in ``crds/statefulroute.yaml``."""
    crd: dict[str, Any] = yaml.safe_load((shipped("crds") / "statefulroute.yaml").read_text(encoding="utf-8"))
    return crd


def known_fields(crd: Mapping[str, Any], version: str) -> set[str]:
    """The paths of all fields that a CustomResourceDefinition knows in a version; empty: it has no such version."""
    for found in crd["spec"]["versions"]:
        if found["name"] == version and found.get("served"):
            schema = (found.get("schema") or {}).get("openAPIV3Schema") or {}
            return {
                path for part in ("spec", "status") for path in _paths(schema.get("properties", {}).get(part, {}), part)
            }
    return set()


def _paths(schema: Mapping[str, Any], path: str) -> Iterator[str]:
    yield path
    for name, child in (schema.get("properties") or {}).items():
        yield from _paths(child, f"{path}.{name}")
