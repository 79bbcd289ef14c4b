"""Whether the cluster's CustomResourceDefinition knows all that this version of the operator writes and reads."""

import logging

from stateful_route.api.crd import known_fields, load_crd
from stateful_route.kube.client import Kube, KubeError
from stateful_route.kube.objects import VERSION, list_crds

log = logging.getLogger(__name__)


class Definition:
    """What the cluster knows of StatefulRoutes.

    Attributes:
        lacking: The fields that it does not know: what a user writes there is dropped by the API server.
    """

    def __init__(self) -> None:
        shipped = load_crd()
        self._name = str(shipped["metadata"]["name"])
        self._wanted = known_fields(shipped, VERSION)
        self.lacking: tuple[str, ...] = ()

    async def look(self, kube: Kube) -> None:
        """Look again; what cannot be looked at counts as it did."""
        try:
            found = await list_crds(kube, self._name)
        except KubeError as error:
            log.debug("CRD not read", extra={"error": str(error)})
            return
        here = known_fields(found[0], VERSION) if found else set()
        lacking = tuple(sorted(self._wanted - here)) if here else ()
        if lacking and lacking != self.lacking:
            log.warning("the CRD is older than this operator", extra={"lacks": lacking, "advice": UPGRADE})
        self.lacking = lacking


UPGRADE = "apply the CRD of this version (kubectl apply -f crds/, or upgrade the chart with crds.enabled)"
