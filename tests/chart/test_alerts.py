"""What Prometheus' own tool says of the alerts: they are well-formed, fire when they should, and only then."""

import subprocess
from pathlib import Path

import pytest
import yaml

from stateful_route.devcluster import DevClusterError
from stateful_route.devcluster.promtool import find_promtool
from support.helm import CHART

ALERTS = CHART / "files" / "alerts.yaml"
NAMES = [rule["alert"] for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]
JOB = 'job="stateful-route",instance="a"'
ROUTE = f'{JOB},namespace="games",route="rooms"'
SERVICE = f'{JOB},namespace="games",service="rooms"'
MINUTES = 120


def constant(value):
    return f"{value}+0x{MINUTES}"


def rising(by):
    return f"0+{by}x{MINUTES}"


WELL = {
    f"up{{{JOB}}}": constant(1),
    f"stateful_route_leader{{{JOB}}}": constant(1),
    f"stateful_route_leader{{{JOB.replace('a', 'b')}}}": constant(0),
    f'stateful_route_condition{{{ROUTE},condition="Ready"}}': constant(1),
    f'stateful_route_condition{{{ROUTE},condition="RedisConnected"}}': constant(1),
    f'stateful_route_condition{{{ROUTE},condition="FailoverPaused"}}': constant(0),
    f'stateful_route_links{{{SERVICE},state="SHUTDOWN"}}': constant(0),
    f'stateful_route_links{{{SERVICE},state="READY"}}': constant(1000),
    f'stateful_route_store_errors_total{{{JOB},operation="read",error="unavailable"}}': rising(1),
    f'stateful_route_store_round_trip_seconds_count{{{JOB},operation="read"}}': rising(100),
    f'stateful_route_migrations_total{{{SERVICE},reason="Gone",result="failed"}}': constant(1),
    f'stateful_route_migrations_total{{{SERVICE},reason="Gone",result="complete"}}': rising(10),
    f'stateful_route_event_to_store_seconds_bucket{{{JOB},le="0.05"}}': rising(10),
    f'stateful_route_event_to_store_seconds_bucket{{{JOB},le="5.0"}}': rising(10),
    f'stateful_route_event_to_store_seconds_bucket{{{JOB},le="+Inf"}}': rising(10),
    f"stateful_route_reconcile_wait_seconds{{{SERVICE}}}": constant(5),
    f'stateful_route_drift_repaired_total{{{SERVICE},kind="expired"}}': rising(1000),
    f'stateful_route_drift_repaired_total{{{SERVICE},kind="found"}}': rising(1),
}
"""Series of an hour in which nothing is wrong."""

TROUBLE = {
    "StatefulRouteOperatorDown": {f"up{{{JOB}}}": constant(0)},
    "StatefulRouteNoLeader": {f"stateful_route_leader{{{JOB}}}": constant(0)},
    "StatefulRouteStoreUnreachable": {
        f'stateful_route_condition{{{ROUTE},condition="RedisConnected"}}': constant(0),
        f'stateful_route_condition{{{ROUTE},condition="Ready"}}': constant(0),
    },
    "StatefulRouteStoreErrors": {
        f'stateful_route_store_errors_total{{{JOB},operation="read",error="unavailable"}}': rising(10)
    },
    "StatefulRouteFailoverPaused": {f'stateful_route_condition{{{ROUTE},condition="FailoverPaused"}}': constant(1)},
    "StatefulRouteNotReady": {f'stateful_route_condition{{{ROUTE},condition="Ready"}}': constant(0)},
    "StatefulRouteLinksStranded": {f'stateful_route_links{{{SERVICE},state="SHUTDOWN"}}': constant(3)},
    "StatefulRouteMigrationsFailing": {
        f'stateful_route_migrations_total{{{SERVICE},reason="Gone",result="failed"}}': rising(1)
    },
    "StatefulRouteEventsLate": {f'stateful_route_event_to_store_seconds_bucket{{{JOB},le="0.05"}}': rising(5)},
    "StatefulRouteQueueOld": {f"stateful_route_reconcile_wait_seconds{{{SERVICE}}}": constant(90)},
    "StatefulRouteDriftGrowing": {f'stateful_route_drift_repaired_total{{{SERVICE},kind="found"}}': rising(3)},
}
"""Alert → what is different when it, and no other, should fire."""

PASSING = {
    "a new leader is being elected": {f"stateful_route_leader{{{JOB}}}": "1+0x98 0+0x1 1+0x20"},
    "a pod has just failed": {f'stateful_route_links{{{SERVICE},state="SHUTDOWN"}}': "0+0x97 500+0x2 0+0x20"},
    "one migration has failed": {
        f'stateful_route_migrations_total{{{SERVICE},reason="Gone",result="failed"}}': "1+0x90 2+0x30"
    },
}
"""What passes by itself, at the moment when one looks."""


@pytest.fixture(scope="module")
def promtool() -> Path:
    try:
        return find_promtool()
    except DevClusterError as error:
        pytest.fail(str(error), pytrace=False)


@pytest.fixture(scope="module")
def verdicts(promtool, tmp_path_factory):
    """What promtool prints about all cases, and how it ends."""
    folder = tmp_path_factory.mktemp("rules")
    cases = {"all is well": ({}, []), **{name: (series, []) for name, series in PASSING.items()}}
    cases |= {alert: (series, [alert]) for alert, series in TROUBLE.items()}
    tests = [
        {
            "name": name,
            "interval": "1m",
            "input_series": [{"series": key, "values": values} for key, values in {**WELL, **series}.items()],
            "promql_expr_test": [
                {
                    "expr": 'count by (alertname) (ALERTS{alertstate="firing"})',
                    "eval_time": "100m",
                    "exp_samples": [{"labels": f'{{alertname="{alert}"}}', "value": 1} for alert in firing],
                }
            ],
        }
        for name, (series, firing) in cases.items()
    ]
    file = folder / "tests.yaml"
    file.write_text(yaml.safe_dump({"rule_files": [str(ALERTS)], "evaluation_interval": "1m", "tests": tests}))
    return subprocess.run([promtool, "test", "rules", str(file)], capture_output=True, text=True, check=False)


def test_the_rules_are_well_formed(promtool):
    done = subprocess.run(
        [promtool, "check", "rules", "--lint=all", "--lint-fatal", str(ALERTS)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(NAMES)} rules found" in done.stdout


def test_each_alert_fires_in_its_trouble_and_none_when_all_is_well(verdicts):
    assert verdicts.returncode == 0, verdicts.stdout + verdicts.stderr


def test_every_alert_has_a_trouble():
    assert list(TROUBLE) == NAMES
