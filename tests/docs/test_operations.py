"""The page of operations is whole and true: each one is there, is one of its class, and has a test that exists."""

import ast
import importlib
import inspect
import re
from pathlib import Path

import pytest

from stateful_route.domain.placement import Strategy

REPO = Path(__file__).resolve().parents[2]
PAGE = (REPO / "docs" / "operations.md").read_text()
ROW = re.compile(r"^\| (?P<operation>[^|]+) \|(?P<tests>[^|]*)\|$", re.MULTILINE)
TEST = re.compile(r"`(?P<file>tests/\w+/test_\w+\.py)::(?P<name>test_\w+)`")
HOMES = {
    "RouteInfoDriver": "drivers.route_info",
    "ServerDriver": "drivers.server",
    "ClientDriver": "drivers.client",
    "StatefulRouteManager": "router.manager",
    "LoadBalancer": "router.balancer",
    "HealthChecker": "router.health",
    "FailoverHandler": "router.failover_handler",
}
TOLD_BY_THE_CACHE = {"changed", "concerned", "moved"}

# What the documents that asked for this system name, section by section.
REFERENCE = {
    "RouteInfoDriver": """get_ready_service_state get_all_service_state alive_pods routable_pods get_service_best_pod
        is_pod_available is_pod_routable is_workload_ready get_link_info_cache_time_secs register_routing_state_changed
        on_routing_state_changed get_service_name_by_tag set_global_service_name_tag""",
    "ServerDriver": """set_load_state get_load_state set_routing_state get_routing_state set_linked_pod
        try_set_linked_pod remove_linked_pod remove_linked_pod_with_id start stop""",
    "ClientDriver": """compute_linked_pod set_linked_pod_if_absent get_linked_pod get_linked_pod_not_cache
        get_linked_in_cache get_linked_pod_in_cache_or_if_persist cache_expired set_cache get_link_service
        batch_get_linked_pod init close""",
    "StatefulRouteManager": """route_request get_best_pod update_pod_health handle_pod_failure migrate_user recover_pod
        get_service_load_status""",
    "HealthChecker": "start stop",
    "FailoverHandler": "handle_pod_failure events",
}


def rows() -> dict[str, dict[str, list[tuple[str, str]]]]:
    """Class → operation → its tests, each a file and a name."""
    parts = re.split(r"^## (\w+)$", PAGE, flags=re.MULTILINE)
    found = {}
    for name, text in zip(parts[1::2], parts[2::2], strict=True):
        table = {row["operation"].strip("`"): TEST.findall(row["tests"]) for row in ROW.finditer(text)}
        found[name] = {operation: tests for operation, tests in table.items() if operation not in {"operation", "---"}}
    return found


ROWS = rows()


def operations(name: str, suffix: str = "") -> set[str]:
    """The public methods of a class, or of its twin."""
    module = importlib.import_module(f"stateful_route.{HOMES[name]}{suffix}")
    kinds = (staticmethod, classmethod)
    methods = {
        key
        for key, value in vars(getattr(module, name)).items()
        if inspect.isfunction(value) or isinstance(value, kinds)
    }
    return {key for key in methods if not key.startswith("_")} - TOLD_BY_THE_CACHE


def named_in(file: str) -> set[str]:
    """The names of the tests in a file."""
    nodes = ast.walk(ast.parse((REPO / file).read_text()))
    return {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_the_page_has_these_classes():
    assert set(ROWS) == set(HOMES)


@pytest.mark.parametrize("name", HOMES)
def test_every_operation_of_a_class_is_listed(name):
    listed = {operation for operation in ROWS[name] if re.fullmatch(r"[a-z_0-9]+", operation)}
    assert listed - operations(name) == set()
    assert operations(name) - listed <= {"close"}


@pytest.mark.parametrize("name", REFERENCE)
def test_every_operation_that_the_reference_names_exists_in_both_twins(name):
    wanted = set(REFERENCE[name].split())
    assert wanted - operations(name) == set()
    assert wanted - operations(name, "_sync") == set()


@pytest.mark.parametrize("name", HOMES)
def test_every_operation_has_a_test_that_exists(name):
    lacking = {operation for operation, tests in ROWS[name].items() if not tests}
    lost = {test for tests in ROWS[name].values() for file, test in tests if test not in named_in(file)}
    assert (lacking, lost) == (set(), set())


def test_every_strategy_is_listed():
    assert {operation for operation in ROWS["LoadBalancer"] if re.fullmatch(r"[A-Z]\w+", operation)} == set(Strategy)
