"""From the user's spec to the values that the domain, the store and callers work with."""

from collections.abc import Mapping

from stateful_route.api.statefulroute import StatefulRoute
from stateful_route.domain.address import template_for, with_port
from stateful_route.domain.placement import Placement, Strategy
from stateful_route.domain.pod import PodFacts
from stateful_route.domain.policy import DrainPolicy, MaxUnavailable, MinAvailable, OnLoss, Policy, StartPolicy
from stateful_route.domain.workload_ref import WorkloadFacts
from stateful_route.router.probes import HttpProbe, Probe, TcpProbe

DEFAULT_ADDRESS = "{pod}.{service}.{namespace}.svc"

PROBE_SECONDS = 2.0
"""What a pod has to accept a connection, where the spec names a port for callers and no probe."""


def policy_of(route: StatefulRoute) -> Policy:
    """What decides states and moves."""
    failover, drain = route.spec.failover, route.spec.drain
    return Policy(
        delay_seconds=failover.delay_seconds,
        on_restart=OnLoss(failover.on_restart),
        on_replace=OnLoss(failover.on_replace),
        max_unavailable=max_unavailable(failover.max_unavailable),
        expire_seconds=route.spec.health.expire_seconds,
        drain=DrainPolicy(
            by_app=drain.mode == "App",
            deadline_seconds=drain.deadline_seconds,
            links_per_second=drain.links_per_second,
        ),
        start=StartPolicy(
            min_available=min_available(failover.startup.min_available),
            timeout_seconds=failover.startup.timeout_seconds,
        ),
        placement=placement_of(route),
    )


def max_unavailable(value: int | str) -> MaxUnavailable:
    """An absolute number, or a percentage such as ``50%``."""
    if isinstance(value, str):
        return MaxUnavailable(int(value.removesuffix("%")), percent=True)
    return MaxUnavailable(value)


def min_available(value: int | str) -> MinAvailable:
    """Likewise."""
    if isinstance(value, str):
        return MinAvailable(int(value.removesuffix("%")), percent=True)
    return MinAvailable(value)


def probe_of(route: StatefulRoute) -> Probe | None:
    """How the operator asks a pod itself; None: nobody has said how."""
    probe = route.spec.health.probe
    if probe is None:
        port = route.spec.address.port
        return TcpProbe(port, timeout_seconds=PROBE_SECONDS) if port else None
    if (http := probe.http_get) is not None:
        return HttpProbe(http.port, path=http.path, scheme=http.scheme, timeout_seconds=probe.timeout_seconds)
    assert probe.tcp_socket is not None  # noqa: S101  the model takes exactly one of the two
    return TcpProbe(probe.tcp_socket.port, timeout_seconds=probe.timeout_seconds)


def placement_of(route: StatefulRoute) -> Placement:
    """Where links that move may go."""
    placement = route.spec.placement
    return Placement(
        strategy=Strategy(placement.strategy),
        load_range=placement.load_range,
        weights={int(ordinal): weight for ordinal, weight in (placement.weights or {}).items()},
        max_links=placement.max_links_per_pod,
    )


def config_of(route: StatefulRoute) -> Mapping[str, object]:
    """What callers need of the spec, as fields of the hash ``…#cfg``."""
    spec = route.spec
    return {
        "heartbeat": spec.health.heartbeat,
        "expireSeconds": spec.health.expire_seconds,
        "strategy": spec.placement.strategy,
        "loadRange": spec.placement.load_range,
        "weights": {str(ordinal): weight for ordinal, weight in (spec.placement.weights or {}).items()},
        "maxLinksPerPod": spec.placement.max_links_per_pod,
        "temporaryTTLSeconds": spec.links.temporary_ttl_seconds,
        "retainAfterRemoveSeconds": spec.links.retain_after_remove_seconds,
        "onReplace": spec.failover.on_replace,
    }


def address_of(route: StatefulRoute, pod: PodFacts, workload: WorkloadFacts | None) -> str | None:
    """Where callers reach the pod: ``host``, ``host:port`` or ``[fd00::5]:port``; None: it cannot be told."""
    address = route.spec.address
    service = workload.governing_service if workload else ""
    template = address.template or (DEFAULT_ADDRESS if service else "{ip}")
    if "{ip}" in template and not pod.ip:
        return None
    values = {
        "pod": pod.name,
        "ordinal": pod.ordinal,
        "service": service,
        "namespace": route.metadata.namespace,
        "ip": pod.ip or "",
        "port": address.port or "",
    }
    text = template_for(template, pod.ip or "").format_map(values)
    return text if "{port}" in template else with_port(text, address.port)
