"""An API server that serves the CRD. What need not be stored is sent as a server-side dry run."""

import json
import time
import uuid

import pytest
from kubernetes.config import new_client_from_config

from stateful_route.api.crd import load_crd
from stateful_route.devcluster.errors import KubectlFailed
from support.crd_server import Server

CRD = load_crd()
SERVED_WITHIN_SECONDS = 30


@pytest.fixture(scope="module")
def server(control_plane):
    """An API server that serves this CRD, and a fresh namespace on it."""
    control_plane.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", text=json.dumps(CRD))
    namespace = f"crd-{uuid.uuid4().hex[:8]}"
    control_plane.kubectl("create", "namespace", namespace)
    server = Server(new_client_from_config(config_file=str(control_plane.kubeconfig)), namespace)
    deadline = time.monotonic() + SERVED_WITHIN_SECONDS
    while not (server.serves() and is_discovered(control_plane)):
        assert time.monotonic() < deadline, f"{CRD['metadata']['name']} is not served"
        time.sleep(0.05)
    yield server
    control_plane.kubectl("delete", "namespace", namespace, "--wait=false")


def is_discovered(control_plane):
    """The API server tells of the CRD, as kubectl asks it: that comes some time after it is served."""
    try:
        control_plane.kubectl("get", "sroute", "--all-namespaces")
    except KubectlFailed:
        return False
    return True


@pytest.fixture(scope="module")
def stored(server):
    """A StatefulRoute without a spec, as the API server stores it."""
    return server.create()
