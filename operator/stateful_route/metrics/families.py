"""Every metric there is: its name, its kind, its labels and what it means. The reference page says the same.

A label costs a series for each of its values, and a histogram one for each bucket besides. So no label has more values
than there are pods, what is counted of a service is gone with its StatefulRoute, and histograms are not kept for each
service. No label ever names a user.
"""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["counter", "gauge", "histogram"]

SERVICE = ("namespace", "service")

EVENT_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Seconds: an event is in the store within 10 ms when nothing else goes on, within a minute when much is broken."""
TRIP_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
"""Seconds: a round trip ends within the timeout of 2 s, one way or another."""
MIGRATION_BUCKETS = (0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 20.0, 30.0, 60.0, 300.0)
"""Seconds: some milliseconds for a few links, `drain.deadlineSeconds` on purpose, minutes for a million."""


@dataclass(frozen=True, slots=True)
class Family:
    """One metric.

    Attributes:
        name: As Prometheus knows it.
        kind: Its type.
        meaning: One sentence.
        labels: Their names.
        buckets: Of a histogram: upper bounds, seconds.
    """

    name: str
    kind: Kind
    meaning: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


# Of the operator

BUILD_INFO = Family("stateful_route_build_info", "gauge", "1; the version is a label.", ("version", "python"))
LEADER = Family("stateful_route_leader", "gauge", "1 while this operator leads, or leads without an election; else 0.")
CONDITION = Family(
    "stateful_route_condition",
    "gauge",
    "1 while the condition of the StatefulRoute is True, else 0.",
    ("namespace", "route", "condition"),
)
PODS = Family("stateful_route_pods", "gauge", "Pods of a service in each effective state.", (*SERVICE, "state"))
LINKS = Family("stateful_route_links", "gauge", "Links of a service to pods in each state.", (*SERVICE, "state"))
POD_LINKS = Family("stateful_route_pod_links", "gauge", "Links of each pod.", (*SERVICE, "pod"))
UNREACHABLE_PODS = Family(
    "stateful_route_unreachable_pods", "gauge", "Pods that do not answer the operator's probe.", SERVICE
)
MIGRATIONS_RUNNING = Family("stateful_route_migrations_running", "gauge", "Pods whose links are being moved.", SERVICE)
RECONCILE_WAIT = Family(
    "stateful_route_reconcile_wait_seconds",
    "gauge",
    "For how long the reconciler of a service has been wanting to run; 0 while it need not.",
    SERVICE,
)
RECONCILE = Family(
    "stateful_route_reconcile_seconds", "histogram", "How long a reconciler's pass took.", ("result",), EVENT_BUCKETS
)
EVENT_TO_STORE = Family(
    "stateful_route_event_to_store_seconds",
    "histogram",
    "From the arrival of an event about a pod to the acknowledged write of what it means.",
    (),
    EVENT_BUCKETS,
)
LINKS_MOVED = Family("stateful_route_links_moved_total", "counter", "Links moved off pods.", (*SERVICE, "reason"))
LINKS_NOT_MOVED = Family(
    "stateful_route_links_not_moved_total", "counter", "Links that were to move and did not.", (*SERVICE, "cause")
)
MIGRATIONS = Family(
    "stateful_route_migrations_total", "counter", "Migrations that have ended.", (*SERVICE, "reason", "result")
)
MIGRATION = Family(
    "stateful_route_migration_seconds",
    "histogram",
    "How long migrations took that moved all links.",
    ("reason",),
    MIGRATION_BUCKETS,
)
DRIFT_REPAIRED = Family(
    "stateful_route_drift_repaired_total",
    "counter",
    "What stood in the store, did not fit together and was repaired.",
    (*SERVICE, "kind"),
)
HINTS = Family("stateful_route_hints_total", "counter", "Callers' hints that were looked into.", (*SERVICE, "finding"))

# Of the operator and of callers

ROUND_TRIP = Family(
    "stateful_route_store_round_trip_seconds",
    "histogram",
    "Round trips to the stores, also those that failed.",
    ("operation",),
    TRIP_BUCKETS,
)
STORE_ERRORS = Family(
    "stateful_route_store_errors_total", "counter", "Round trips to the stores that failed.", ("operation", "error")
)

# Of callers

CACHE_HITS = Family(
    "stateful_route_client_cache_hits_total", "counter", "Computations that were answered from memory.", SERVICE
)
CACHE_MISSES = Family(
    "stateful_route_client_cache_misses_total", "counter", "Computations that were not answered from memory.", SERVICE
)
CACHED_LINKS = Family("stateful_route_client_cached_links", "gauge", "Links that are remembered.")
COMPUTE = Family(
    "stateful_route_client_compute_seconds",
    "histogram",
    "How long computations took that were not answered from memory.",
    (),
    TRIP_BUCKETS,
)
MISROUTED = Family(
    "stateful_route_client_misrouted_total", "counter", "Requests that reached a pod without the user.", SERVICE
)
SNAPSHOT_AGE = Family(
    "stateful_route_client_snapshot_age_seconds", "gauge", "How old the knowledge of a service's pods is.", SERVICE
)
STORE_REACHABLE = Family(
    "stateful_route_client_store_reachable", "gauge", "1, or 0 while the states of pods cannot be read."
)

OF_BOTH = (ROUND_TRIP, STORE_ERRORS)
OF_OPERATOR = (
    BUILD_INFO,
    LEADER,
    CONDITION,
    PODS,
    LINKS,
    POD_LINKS,
    UNREACHABLE_PODS,
    MIGRATIONS_RUNNING,
    RECONCILE_WAIT,
    RECONCILE,
    EVENT_TO_STORE,
    LINKS_MOVED,
    LINKS_NOT_MOVED,
    MIGRATIONS,
    MIGRATION,
    DRIFT_REPAIRED,
    HINTS,
)
OF_CALLERS = (CACHE_HITS, CACHE_MISSES, CACHED_LINKS, COMPUTE, MISROUTED, SNAPSHOT_AGE, STORE_REACHABLE)
ALL = (*OF_OPERATOR, *OF_BOTH, *OF_CALLERS)
