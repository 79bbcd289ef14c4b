"""Applies the CRD of this installation to a control plane, and waits until objects of it can be made."""

import time

import yaml

from stateful_route.api.crd import load_crd
from stateful_route.devcluster.errors import ControlPlaneUnavailable, KubectlFailed
from stateful_route.devcluster.kubectl import Kubectl

SERVED_SECONDS = 30.0
POLL_SECONDS = 0.1


def apply_crd(kubectl: Kubectl) -> None:
    """Apply the CRD; the API server then takes a moment to serve it.

    Raises:
        ControlPlaneUnavailable: it is not served within half a minute.
        KubectlFailed: it was refused.
    """
    crd = load_crd()
    kubectl("apply", "--server-side", "-f", "-", text=yaml.safe_dump(crd))
    deadline = time.monotonic() + SERVED_SECONDS
    while True:
        # Not `kubectl wait --for=condition=Established`: it fails on a CRD that has no conditions yet.
        try:
            kubectl("get", crd["metadata"]["name"].partition(".")[0], "--all-namespaces")
        except KubectlFailed as error:
            if time.monotonic() > deadline:
                raise ControlPlaneUnavailable(f"the CRD is not served: {error}") from error
            time.sleep(POLL_SECONDS)
        else:
            return
