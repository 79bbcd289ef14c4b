"""The API server takes what the chart makes of every combination of values that matters (server-side dry run).

ServiceMonitor and PrometheusRule are left out: their definitions are another project's. tests/chart/test_render.py
looks at them.
"""

import json

import pytest

from support.chart_cases import CASES, CHAT, GAMES

FOREIGN = {"ServiceMonitor", "PrometheusRule"}


@pytest.fixture(scope="module")
def release_namespace(kubectl):
    """The namespaces that the cases name, and the one of the release."""
    for name in (GAMES, CHAT, "routing"):
        kubectl("create", "namespace", name)
    kubectl("label", "namespace", "routing", "pod-security.kubernetes.io/enforce=restricted")
    yield "routing"
    for name in (GAMES, CHAT, "routing"):
        kubectl("delete", "namespace", name, "--wait=false")


@pytest.mark.parametrize("values", CASES.values(), ids=CASES)
def test_the_api_server_takes_all_objects_of(values, helm, kubectl, release_namespace):
    objects = helm.objects(values, namespace=release_namespace)
    ours = [body for body in objects if body["kind"] not in FOREIGN]
    listed = json.dumps({"apiVersion": "v1", "kind": "List", "items": ours})

    answers = kubectl("apply", "--dry-run=server", "--validate=strict", "-f", "-", text=listed).splitlines()

    assert len(answers) == len(ours)
