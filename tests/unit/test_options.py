"""Options that cannot be are refused when they are made, and so are those of one part where another's are wanted."""

import math

import pytest

import stateful_route
from stateful_route import sync
from stateful_route.domain.errors import InvalidArgument
from stateful_route.drivers.cache import CacheOptions
from stateful_route.drivers.client import ClientOptions
from stateful_route.drivers.server_options import ServerOptions
from stateful_route.router.failover_handler import FailoverOptions
from stateful_route.router.health import HealthOptions
from stateful_route.router.manager import ManagerOptions
from stateful_route.router.probes import GrpcProbe, HttpProbe, RecordAgeProbe, TcpProbe
from stateful_route.router.route import RouteOptions
from stateful_route.store import executor, executor_sync
from stateful_route.store.connection import Store, StoreOptions
from stateful_route.store.connection_sync import Store as SyncStore

URL = "redis://127.0.0.1:1"
NO_PERIOD = (0, -1, -0.5, math.nan, math.inf, 1e300, True, "2", None)
NO_AGE = (-1, math.nan, True, "2", None)
NO_COUNT = (-1, 1.5, True, "2", None, math.inf)

REFUSED = {
    (StoreOptions, "timeout_seconds"): NO_PERIOD,
    (StoreOptions, "deadline_seconds"): NO_PERIOD,
    (StoreOptions, "health_check_seconds"): NO_AGE,
    (StoreOptions, "role_check_seconds"): NO_AGE,
    (StoreOptions, "look_seconds"): NO_AGE,
    (StoreOptions, "max_connections"): (0, *NO_COUNT),
    (StoreOptions, "retries"): NO_COUNT,
    (CacheOptions, "refresh_seconds"): NO_PERIOD,
    (ClientOptions, "cache_size"): (0, *NO_COUNT),
    (ClientOptions, "cache_seconds"): NO_AGE,
    (ClientOptions, "avoid_seconds"): NO_AGE,
    (HealthOptions, "period_seconds"): NO_PERIOD,
    (HealthOptions, "timeout_seconds"): NO_PERIOD,
    (HealthOptions, "failures_allowed"): NO_COUNT,
    (FailoverOptions, "history"): (0, *NO_COUNT),
    (HttpProbe, "timeout_seconds"): NO_PERIOD,
    (TcpProbe, "timeout_seconds"): NO_PERIOD,
    (GrpcProbe, "timeout_seconds"): NO_PERIOD,
    (RecordAgeProbe, "max_age_seconds"): NO_AGE,
    (FailoverOptions, "links_per_second"): (0, -1, math.nan, True, "2", None),
}


@pytest.mark.parametrize(
    ("kind", "name", "value"), [(*where, value) for where, values in REFUSED.items() for value in values]
)
def test_an_option_that_cannot_be_is_refused_by_its_name(kind, name, value):
    with pytest.raises(InvalidArgument, match=name):
        kind(**{name: value})


NO_LIMIT = (-1, -0.5, math.nan, math.inf, 1e300, True, "2", None)

REFUSED_AT_THE_START = {
    "update_seconds": NO_PERIOD,
    "settle_seconds": NO_LIMIT,
    "stop_seconds": NO_LIMIT,
    "request_seconds": NO_LIMIT,
}


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in REFUSED_AT_THE_START.items() for value in values]
)
def test_a_pods_option_that_cannot_be_is_refused_by_its_name(name, value):
    with pytest.raises(InvalidArgument, match=name):
        ServerOptions(**{name: value}).check()


TAKEN = [
    (StoreOptions, {"timeout_seconds": 0.001, "deadline_seconds": 1_000_000, "retries": 0, "max_connections": 1}),
    (StoreOptions, {"role_check_seconds": 0, "look_seconds": math.inf, "health_check_seconds": 0}),
    (CacheOptions, {"refresh_seconds": 60}),
    (ClientOptions, {"cache_size": 1, "cache_seconds": 0, "avoid_seconds": math.inf}),
    (FailoverOptions, {"links_per_second": math.inf}),
]


@pytest.mark.parametrize(("kind", "values"), TAKEN)
def test_the_ends_of_the_ranges_are_taken(kind, values):
    made = kind(**values)
    assert all(getattr(made, name) == value for name, value in values.items())


@pytest.mark.parametrize("route", [stateful_route.StatefulRoute, sync.StatefulRoute])
@pytest.mark.parametrize(
    ("part", "options"), [("store", StoreOptions), ("cache", CacheOptions), ("client", ClientOptions)]
)
def test_a_parts_options_are_handed_over_in_the_routes(route, part, options):
    with pytest.raises(InvalidArgument, match=rf"write RouteOptions\({part}={options.__name__}\(…\)\)$"):
        route.connect(URL, options())


@pytest.mark.parametrize("route", [stateful_route.StatefulRoute, sync.StatefulRoute])
@pytest.mark.parametrize("wrong", [3, {"store": StoreOptions()}, RouteOptions, "x", False])
def test_what_is_no_options_is_refused(route, wrong):
    with pytest.raises(InvalidArgument, match="have to be RouteOptions, not"):
        route.connect(URL, wrong)


@pytest.mark.parametrize("wrong", [RouteOptions(), 2.0, {"timeout_seconds": 1}])
@pytest.mark.parametrize("kind", [Store, SyncStore, executor.StatefulExecutor, executor_sync.StatefulExecutor])
def test_a_store_takes_its_own_options_alone(kind, wrong):
    with pytest.raises(InvalidArgument, match="have to be StoreOptions, not"):
        kind.from_url(URL, wrong)


@pytest.mark.parametrize(
    ("part", "wrong"),
    [("store", CacheOptions()), ("cache", StoreOptions()), ("client", 3), ("manager", HealthOptions())],
)
def test_each_part_of_the_options_is_of_its_class(part, wrong):
    with pytest.raises(InvalidArgument, match=f"not {type(wrong).__name__}"):
        RouteOptions(**{part: wrong})


async def test_a_pods_driver_takes_its_own_options_alone():
    async with stateful_route.StatefulRoute.connect(URL, RouteOptions(manager=ManagerOptions())) as route:
        identity = stateful_route.Identity("games", "room", 0) if hasattr(stateful_route, "Identity") else None
        assert identity is not None
        with pytest.raises(InvalidArgument, match="have to be ServerOptions, not StoreOptions"):
            route.server(identity, StoreOptions())
        assert route.server(identity, ServerOptions())


def test_options_of_the_other_twin_are_taken():
    sync.StatefulRoute.connect("redis://127.0.0.1:1", RouteOptions()).close()
