"""Metrics: the page that explains them, the expressions that use them, and what becomes of readings."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from stateful_route.domain import meter
from stateful_route.domain.meter import RouteReading
from stateful_route.domain.routing import RoutingState
from stateful_route.metrics import families
from stateful_route.metrics.operator import PODS_SHOWN, OperatorMetrics
from stateful_route.reconcile.arrivals import Arrivals
from stateful_route.store.keys import Service
from support import exposition

REPO = Path(__file__).resolve().parents[2]
PAGE = (REPO / "docs" / "reference" / "metrics.md").read_text()
RUNBOOKS = (REPO / "docs" / "runbooks.md").read_text()
FILES = REPO / "charts" / "stateful-route" / "files"
RULES = [rule for group in yaml.safe_load((FILES / "alerts.yaml").read_text())["groups"] for rule in group["rules"]]
DASHBOARD = json.loads((FILES / "dashboard.json").read_text())
ROOMS = Service("games", "rooms")
READY, DENY, SHUTDOWN = RoutingState

# The page


def explained(title):
    """The table under a heading: name → type, labels, meaning."""
    parts = re.split(r"^## (.+)$", PAGE, flags=re.MULTILINE)
    text = dict(zip(parts[1::2], parts[2::2], strict=True))[title]
    rows = re.findall(r"^\| `(stateful_route_\w+)` \| (\w+) \| (.*?) ?\| (.+) \|$", text, flags=re.MULTILINE)
    return {name: (kind, tuple(re.findall(r"`(\w+)`", labels)), meaning) for name, kind, labels, meaning in rows}


SECTIONS = {
    "The operator": families.OF_OPERATOR,
    "The operator and callers": families.OF_BOTH,
    "Callers": families.OF_CALLERS,
}


@pytest.mark.parametrize("title", SECTIONS)
def test_the_page_explains_every_metric_and_no_other(title):
    there_are = {one.name: (one.kind, one.labels, one.meaning) for one in SECTIONS[title]}
    assert explained(title) == there_are


def values_of(label):
    (text,) = re.findall(rf"^\| `{label}` \| (.+) \|$", PAGE, flags=re.MULTILINE)
    return set(re.findall(r"`(\w+)`", text))


def test_the_page_has_the_values_that_the_code_gives():
    assert values_of("state") == set(RoutingState)
    assert values_of("operation") == set(meter.OPERATIONS)
    assert values_of("error") == {kind for _, kind in meter.FAILURES} | {meter.OTHER_FAILURE, "late"}


@pytest.mark.parametrize("one", families.ALL, ids=lambda one: one.name)
def test_a_name_follows_the_conventions(one):
    assert re.fullmatch(r"stateful_route_[a-z_]+", one.name)
    assert one.name.endswith("_total") is (one.kind == "counter")
    assert one.name.endswith("_seconds") or one.kind != "histogram"
    assert bool(one.buckets) is (one.kind == "histogram")
    assert "uid" not in one.labels


# Expressions

SERIES = {one.name: {*one.labels} for one in families.ALL if one.kind != "histogram"} | {
    f"{one.name}{suffix}": {*one.labels, *more}
    for one in families.ALL
    if one.kind == "histogram"
    for suffix, more in (("_bucket", {"le"}), ("_sum", ()), ("_count", ()))
}
OF_TARGETS = {"job", "instance"}
WORDS = {"sum", "max", "count", "avg", "topk", "absent", "rate", "increase", "histogram_quantile", "vector"}
WORDS |= {"by", "on", "unless", "or", "label_values"}
MADE_UP = {"stateful_route_nonsense": ["stateful_route_nonsense"], 'stateful_route_leader{uid="x"}': ["uid"]}


def strangers(expression):
    """Names in an expression that are no metric of ours, and labels that the metrics in it do not have."""
    text = re.sub(r"\[[^\]]*\]|\$\w+", "", expression)
    selectors = re.findall(r"([a-z_:]+)(?:\{([^}]*)\})?", re.sub(r'"[^"]*"', '""', text))
    metrics = {name for name, _ in selectors if name.startswith("stateful_route_") or name == "up"}
    found = [name for name in metrics if name not in SERIES and name != "up"]
    known = set().union(*(SERIES.get(name, set()) for name in metrics)) | OF_TARGETS
    for name, matchers in selectors:
        if name in metrics and matchers:
            own = SERIES.get(name, set()) | OF_TARGETS
            found += [label for label in re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", matchers) if label not in own]
    without = re.sub(r"\{[^}]*\}", "", re.sub(r'"[^"]*"', "", text))
    found += [w for w in re.findall(r"[a-zA-Z_]+", without) if w not in {*WORDS, *metrics, *known, "e"}]
    return found


def expressions():
    found = {rule["alert"]: rule["expr"] for rule in RULES}
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", ()):
            found[f"{panel['title']} {target['refId']}"] = target["expr"]
    for variable in DASHBOARD["templating"]["list"]:
        if variable["type"] == "query":
            found[f"${variable['name']}"] = variable["definition"]
    page = (REPO / "docs" / "how-to" / "monitor.md").read_text() + RUNBOOKS
    for number, code in enumerate(re.findall(r"`([^`\n]*stateful_route_[^`\n]*)`", page)):
        if code not in {one.name for one in families.ALL}:
            found[f"page {number}"] = code
    return found


EXPRESSIONS = expressions()


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_an_expression_names_metrics_and_labels_that_exist(name):
    assert strangers(EXPRESSIONS[name]) == []


@pytest.mark.parametrize("expression", MADE_UP)
def test_one_that_does_not_is_found(expression):
    assert strangers(expression) == MADE_UP[expression]


def test_alerts_and_dashboard_look_at_every_metric_but_those_that_explain_them():
    used = " ".join([*EXPRESSIONS.values()])
    unused = {one.name for one in families.ALL if one.name not in used}
    assert unused <= {"stateful_route_client_cached_links"}


# Alerts


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_says_how_bad_it_is_what_it_means_and_what_to_do(rule):
    assert rule["labels"]["severity"] in {"critical", "warning"}
    assert rule["annotations"].keys() == {"summary", "description", "runbook_url"}
    assert rule["annotations"]["runbook_url"] == f"docs/runbooks.md#{rule['alert'].lower()}"
    used = set(re.findall(r"\$labels\.(\w+)", "".join(rule["annotations"].values())))
    assert all(re.search(rf"by \([^)]*\b{label}\b", rule["expr"]) for label in used)


def test_every_alert_has_a_runbook_and_there_is_no_other():
    heads = re.findall(r"^## (.+)$", RUNBOOKS, flags=re.MULTILINE)
    assert heads == [rule["alert"] for rule in RULES]


# What the operator shows


def samples(metrics):
    return exposition.samples(metrics.page()[0].decode())


def reading(**changes):
    facts = {
        "namespace": "games",
        "route": "rooms",
        "service": "rooms",
        "workload": "rooms-set",
        "conditions": {"Ready": True, "Stalled": False},
        "states": {0: READY, 1: SHUTDOWN, 2: READY},
        "links": {0: 5, 1: 7, 2: 0},
        "unreachable": 1,
        "migrations": 2,
        "waiting_seconds": 3.5,
    }
    return RouteReading(**facts | changes)


def test_a_reading_becomes_gauges():
    shown = samples(OperatorMetrics("1.2.3", lambda: [reading()], lambda: True))
    service = ("games", "rooms")
    assert {state: shown["stateful_route_pods", *service, state] for state in RoutingState} == {
        READY: 2,
        DENY: 0,
        SHUTDOWN: 1,
    }
    assert [shown["stateful_route_links", *service, state] for state in RoutingState] == [5, 0, 7]
    assert [shown["stateful_route_pod_links", *service, f"rooms-set-{pod}"] for pod in range(3)] == [5, 7, 0]
    assert shown["stateful_route_condition", *service, "Ready"] == 1
    assert shown["stateful_route_condition", *service, "Stalled"] == 0
    assert shown["stateful_route_unreachable_pods", *service] == 1
    assert shown["stateful_route_migrations_running", *service] == 2
    assert shown["stateful_route_reconcile_wait_seconds", *service] == 3.5
    assert shown["stateful_route_leader",] == 1


def test_a_service_of_very_many_pods_is_shown_without_the_links_of_each():
    links = dict.fromkeys(range(PODS_SHOWN + 1), 1)
    shown = samples(
        OperatorMetrics("1.2.3", lambda: [reading(states=dict.fromkeys(links, READY), links=links)], lambda: True)
    )
    assert shown["stateful_route_links", "games", "rooms", READY] == PODS_SHOWN + 1
    assert [name for name, *_ in shown if name == "stateful_route_pod_links"] == []


def test_two_routes_of_one_service_make_no_series_twice():
    both = [reading(), reading(route="rival", states={}, links={})]
    shown = samples(OperatorMetrics("1.2.3", lambda: both, lambda: True))
    assert shown["stateful_route_pods", "games", "rooms", READY] == 2
    assert shown["stateful_route_condition", "games", "rival", "Ready"] == 1


def test_one_that_does_not_fit_has_conditions_alone():
    unfit = reading(service="", workload="", states={}, links={}, conditions={"Ready": False})
    shown = samples(OperatorMetrics("1.2.3", lambda: [unfit], lambda: True))
    assert shown["stateful_route_condition", "games", "rooms", "Ready"] == 0
    assert [key for key in shown if "games" in key and key[0] != "stateful_route_condition"] == []


def busy(metrics):
    """Everything happens once, of two services."""
    for service in (ROOMS, Service("games", "lobby")):
        metrics.links_moved(service, "Gone", 12)
        metrics.links_not_moved(service, "foreign", 1)
        metrics.migrated(service, "Gone", "complete", 0.2)
        metrics.drift_repaired(service, "found", 3)
        metrics.hinted(service, "answers")
    metrics.round_trip("read", 0.001)
    metrics.store_failed("write", "unavailable")
    metrics.event_written(0.02)
    metrics.reconciled("done", 0.01)


def test_what_belongs_to_a_service_that_is_forgotten_disappears_and_nothing_else():
    metrics = OperatorMetrics("1.2.3", lambda: (), lambda: True)
    busy(metrics)
    before = samples(metrics)
    assert before["stateful_route_links_moved_total", "games", "rooms", "Gone"] == 12
    metrics.forget(ROOMS)
    after = samples(metrics)
    ours = {key for key in after if key[0].startswith("stateful_route_")}
    assert {key for key in before if key[0] in {one[0] for one in ours}} - ours == {
        ("stateful_route_links_moved_total", "games", "rooms", "Gone"),
        ("stateful_route_links_not_moved_total", "games", "rooms", "foreign"),
        ("stateful_route_migrations_total", "games", "rooms", "Gone", "complete"),
        ("stateful_route_drift_repaired_total", "games", "rooms", "found"),
        ("stateful_route_hints_total", "games", "rooms", "answers"),
    }


def test_every_metric_of_the_operator_is_shown_and_explained():
    metrics = OperatorMetrics("1.2.3", lambda: [reading()], lambda: False)
    busy(metrics)
    text = metrics.page()[0].decode()
    shown = set(re.findall(r"^# TYPE (stateful_route_\w+) ", text, flags=re.MULTILINE))
    assert shown == {one.name for one in (*families.OF_OPERATOR, *families.OF_BOTH)}
    assert "_created" not in text
    for one in families.OF_OPERATOR:
        assert f"# TYPE {one.name} {one.kind}\n# " in text or f"# TYPE {one.name} {one.kind}\n{one.name}" in text


def test_without_the_extra_it_says_what_to_install():
    code = "import sys; sys.modules['prometheus_client'] = None\nimport stateful_route.metrics"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "pip install 'stateful-route[metrics]'" in done.stderr.splitlines()[-1]


def test_the_library_imports_nothing_of_it():
    code = (
        "import sys; from stateful_route import StatefulRoute; import stateful_route.router.route\n"
        "print([name for name in sys.modules if 'prometheus' in name or 'stateful_route.metrics' in name])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# Events


class Heard(meter.Meter):
    def __init__(self):
        self.seconds = []

    def event_written(self, seconds):
        self.seconds.append(seconds)


def test_an_event_counts_when_its_pod_is_written_and_only_then():
    heard = Heard()
    arrivals = Arrivals(heard)
    arrivals.came(0)
    arrivals.came(1)
    arrivals.came(0)
    with arrivals.written([0, 7]):
        assert heard.seconds == []
    assert len(heard.seconds) == 1
    with arrivals.written([0, 1]):
        pass
    assert len(heard.seconds) == 1, "nothing was to be written of the other one, and neither has come again"


def test_an_event_whose_write_fails_is_late_from_the_beginning(monkeypatch):
    now = [100.0]
    monkeypatch.setattr("stateful_route.reconcile.arrivals.time.monotonic", lambda: now[0])
    heard = Heard()
    arrivals = Arrivals(heard)
    arrivals.came(0)
    now[0] = 103.0

    def fail():
        with arrivals.written([0]):
            arrivals.came(0)
            raise OSError("away")

    with pytest.raises(OSError, match="away"):
        fail()
    now[0] = 110.0
    with arrivals.written([0]):
        pass
    assert heard.seconds == [10.0]
