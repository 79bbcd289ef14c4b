"""The CRD that ships with this version."""

from typing import Any

import yaml

from stateful_route.resources import shipped


def load_crd() -> dict[str, Any]:
    """The CustomResourceDefinition of StatefulRoute, as in ``crds/statefulroute.yaml``."""
    crd: dict[str, Any] = yaml.safe_load((shipped("crds") / "statefulroute.yaml").read_text(encoding="utf-8"))
    return crd
