"""What a caller's metrics tell, of the asynchronous library and of its twin."""

from types import SimpleNamespace

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from stateful_route.domain.errors import StoreUnavailable
from stateful_route.metrics import families, instrument
from stateful_route.store.connection import StoreOptions

NS, SVC = "games", "room"
LABELS = {"namespace": NS, "service": SVC}


@pytest.fixture
def registry():
    return CollectorRegistry()


def plain(part):
    """The object itself, where the fixture has put its operations into threads."""
    return vars(part).get("_twin", part)


def route_of(caller):
    return SimpleNamespace(**{name: plain(getattr(caller, name)) for name in ("executor", "client", "states")})


@pytest.fixture
def shown(pushed, registry):
    """The metrics of the caller: ``shown(family, **labels)`` is a value, None: there is none."""
    made = instrument(route_of(pushed), registry)

    def value(family, suffix="", **labels):
        return registry.get_sample_value(f"{family.name}{suffix}", labels)

    yield value
    made.end()


async def test_hits_misses_and_how_long_they_take(publish, pushed, shown):
    await publish({0: "READY", 1: "READY"})
    await pushed.client.compute_linked_pod(NS, "ada", SVC)
    for _ in range(5):
        await pushed.client.compute_linked_pod(NS, "ada", SVC)
    await pushed.client.compute_linked_pods(NS, ["ada", "bob", "eve"], SVC)
    assert shown(families.CACHE_HITS, **LABELS) == 6
    assert shown(families.CACHE_MISSES, **LABELS) == 3
    assert shown(families.CACHED_LINKS) == 3
    assert shown(families.COMPUTE, "_count") == 2
    assert 0 < shown(families.COMPUTE, "_sum") < 2
    assert shown(families.ROUND_TRIP, "_count", operation="write") >= 2
    assert 0 <= shown(families.SNAPSHOT_AGE, **LABELS) < 60
    assert shown(families.STORE_REACHABLE) == 1


async def test_hits_are_not_lost_when_links_end(publish, pushed, shown):
    await publish({0: "READY"})
    for _ in range(3):
        await pushed.client.compute_linked_pod(NS, "ada", SVC)
    plain(pushed.client)._cache.end_all(plain(pushed.client)._cache.pods and next(iter(plain(pushed.client).counts())))
    assert shown(families.CACHE_HITS, **LABELS) == 2
    for _ in range(3):
        await pushed.client.compute_linked_pod(NS, "ada", SVC)
    assert shown(families.CACHE_HITS, **LABELS) == 4


async def test_a_misrouted_request_is_counted_and_the_store_is_asked_next(publish, pushed, shown):
    await publish({0: "READY", 1: "READY"})
    pod = await pushed.client.compute_linked_pod(NS, "ada", SVC)
    assert pushed.client.report_misrouted(NS, "ada", SVC) == pod
    assert pushed.client.get_linked_in_cache(NS, "ada", SVC) is None
    assert pushed.client.report_misrouted(NS, "ada", SVC) is None
    assert shown(families.MISROUTED, **LABELS) == 2


async def test_a_store_that_is_away_is_counted_by_what_was_asked_of_it(connect, registry):
    hurried = StoreOptions(timeout_seconds=0.2, deadline_seconds=0.5, retries=0)
    caller = await connect("redis://:geheim@127.0.0.1:1", store=hurried)
    made = instrument(route_of(caller), registry)
    with pytest.raises(StoreUnavailable):
        await caller.client.compute_linked_pod(NS, "ada", SVC)
    text = generate_latest(registry).decode()
    assert 'error="unavailable"' in text
    assert registry.get_sample_value(families.COMPUTE.name + "_count") == 1
    assert "ada" not in text
    assert "geheim" not in text
    made.end()


async def test_every_metric_is_shown_and_when_it_ends_none_is(pushed, registry):
    made = instrument(route_of(pushed), registry)
    text = generate_latest(registry).decode()
    for one in (*families.OF_BOTH, *families.OF_CALLERS):
        assert f"# TYPE {one.name} {one.kind}\n" in text
    assert text.count("# TYPE") == len(families.OF_BOTH + families.OF_CALLERS)
    with pytest.raises(ValueError, match="Duplicated"):
        instrument(route_of(pushed), registry)
    made.end()
    assert generate_latest(registry) == b""
