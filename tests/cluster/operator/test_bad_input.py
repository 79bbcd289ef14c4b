"""What a user gets wrong is told in a condition and an Event, with the way out, and holds up nobody else."""

import asyncio
import contextlib
import json
import shutil
import ssl
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from stateful_route.api.crd import load_crd
from stateful_route.devcluster.embedded_store import EmbeddedStore
from stateful_route.kube.client import KubeError
from stateful_route.kube.objects import FINALIZER
from stateful_route.store.connection import Store
from stateful_route.store.keys import META
from support.certificates import authority
from support.doctor import doctor
from support.process import OperatorProcess
from support.scene import Scene, TestKube
from support.tcp_proxy import TcpProxy
from support.waiting import eventually

StartOperator = Callable[..., OperatorProcess]
PASSWORD = "Tr0ub4dor"
WRONG_PASSWORD = "correct-horse"
ROTATED = "n3xt-in-turn"
SECRETS = (PASSWORD, WRONG_PASSWORD)
"""Recognisable, so that they can be looked for in all that anybody can read."""


@dataclass(frozen=True)
class Mistake:
    """A spec, its Secret's content if it names one, and what its user should read.

    ``{locked}`` in a URL stands for the address of a store with a password, ``{newer}`` for that of a store which a
    later version has written.
    """

    spec: Mapping[str, Any]
    condition: str
    reason: str
    says: tuple[str, ...]
    secret: Mapping[str, str] = field(default_factory=dict)


def by_secret(content: str, condition: str, reason: str, *says: str, key: str = "url") -> Mistake:
    spec = {"redis": {"urlSecretRef": {"name": "SECRET"}}}
    return Mistake(spec, condition, reason, says, {key: content})


def by_url(url: str, condition: str, reason: str, *says: str) -> Mistake:
    return Mistake({"redis": {"url": url}}, condition, reason, says)


MISTAKES = {
    "no-such-workload": Mistake(
        {"workloadRef": {"name": "nobody"}}, "Stalled", "WorkloadNotFound", ("no StatefulSet 'nobody'",)
    ),
    "no-such-secret": Mistake(
        {"redis": {"urlSecretRef": {"name": "absent"}}},
        "RedisConnected",
        "SecretNotFound",
        ("there is no Secret 'absent' in namespace", "create it", "spec.redis.urlSecretRef"),
    ),
    "no-such-key": by_secret(
        "redis://127.0.0.1:1", "RedisConnected", "SecretNotFound", "has no key 'url', its keys are: 'uri'", key="uri"
    ),
    "an-empty-key": by_secret(" ", "RedisConnected", "SecretNotFound", "key 'url' of Secret", "is empty"),
    "another-scheme": by_secret(
        f"http://:{PASSWORD}@127.0.0.1:1",
        "RedisConnected",
        "InvalidURL",
        "key 'url' of Secret",
        "redis://",
        "rediss://",
    ),
    "a-password-for-a-url": by_secret(PASSWORD, "RedisConnected", "InvalidURL", "key 'url' of Secret", "redis://"),
    "a-password-in-the-place-of-the-host": by_secret(
        f"redis://:{PASSWORD}", "RedisConnected", "InvalidURL", "key 'url' of Secret"
    ),
    "an-option-that-nobody-knows": by_secret(
        "redis://127.0.0.1:1/0?nonsense=1", "RedisConnected", "InvalidURL", "key 'url' of Secret", "setting 'nonsense'"
    ),
    "a-login-from-a-file": by_url(
        "redis://127.0.0.1:1?password_file=/etc/hostname", "RedisConnected", "InvalidURL", "spec.redis.url", "a file"
    ),
    "a-login-from-a-file-by-a-secret": by_secret(
        "redis://127.0.0.1:1?username_file=/etc/hostname",
        "RedisConnected",
        "InvalidURL",
        "key 'url' of Secret",
        "a file",
    ),
    "no-password": by_url("redis://{locked}", "RedisConnected", "AuthenticationFailed", "{locked}", "password"),
    "a-wrong-password": by_secret(
        f"redis://:{WRONG_PASSWORD}@{{locked}}",
        "RedisConnected",
        "AuthenticationFailed",
        "{locked}",
        "correct the user or password",
    ),
    "nobody-there": by_url("redis://127.0.0.1:1", "RedisConnected", "StoreUnavailable", "127.0.0.1:1"),
    "no-such-host": by_secret(
        f"redis://:{PASSWORD}@store.invalid:6379", "RedisConnected", "StoreUnavailable", "store.invalid"
    ),
    "tls-is-not-asked-for": by_url(
        "redis://{tls}", "RedisConnected", "StoreUnavailable", "{tls}", "begin the URL with rediss"
    ),
    "tls-is-not-spoken": by_url("rediss://{newer}", "RedisConnected", "StoreUnavailable", "{newer}", "redis://"),
    "an-authority-that-nobody-knows": by_url(
        "rediss://{tls}", "RedisConnected", "StoreUnavailable", "{tls}", "certificate", "?ssl_ca_certs="
    ),
    "a-newer-layout": by_url(
        "redis://{newer}", "RedisConnected", "LayoutMismatch", "{newer}", "layout version 99", "upgrade stateful-route"
    ),
}


@pytest.fixture
def locked() -> Iterator[EmbeddedStore]:
    """A store with a password."""
    with EmbeddedStore(password=PASSWORD) as server:
        yield server


@pytest.fixture
async def tls(locked: EmbeddedStore, tmp_path: Path) -> AsyncIterator[TcpProxy]:
    """A store with TLS, whose certificate is signed by an authority of our own."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl here to make certificates")
    files = authority(tmp_path / "tls")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(files.certificate, files.key)
    async with TcpProxy(locked.port, tls=context) as proxy:
        yield proxy


@pytest.fixture
async def newer(server: EmbeddedStore) -> AsyncIterator[Store]:
    """A store that a later version of this project has written."""
    store = Store.from_url(server.url)
    await store.command("HSET", META, "layout", 99)
    yield store
    await store.close()


@pytest.fixture
def addresses(locked: EmbeddedStore, tls: TcpProxy, server: EmbeddedStore) -> Mapping[str, str]:
    """Where the stores are that the mistakes name; ``newer`` is `server`."""
    ports = {"locked": locked.port, "tls": tls.port, "newer": server.port}
    return {name: f"127.0.0.1:{port}" for name, port in ports.items()}


async def make(scene: Scene, name: str, mistake: Mistake, addresses: Mapping[str, str]) -> tuple[str, ...]:
    """Make the StatefulRoute and its Secret; what its user should read."""

    def filled(text: str) -> str:
        for word, address in addresses.items():
            text = text.replace(f"{{{word}}}", address)
        return text

    if mistake.secret:
        await scene.make_secret(name, {key: filled(value) for key, value in mistake.secret.items()})
    spec = json.loads(filled(json.dumps(mistake.spec)).replace("SECRET", name))
    await scene.make_route({"workloadRef": {"name": "rooms"}} | spec, name=name)
    return tuple(filled(text) for text in mistake.says)


async def test_each_mistake_is_told_and_holds_up_nobody(
    scene: Scene,
    server: EmbeddedStore,
    addresses: Mapping[str, str],
    newer: Store,
    start_operator: StartOperator,
    kubeconfig: Path,
) -> None:
    operator = start_operator(scene)
    await scene.make_workload(3)
    await scene.make_route()
    await scene.wait_all_ready(range(3))
    await scene.link(90, range(3))
    await scene.let_read_secret("absent")
    texts = {name: await make(scene, name, mistake, addresses) for name, mistake in MISTAKES.items()}
    for name, mistake in MISTAKES.items():
        status = "True" if mistake.condition == "Stalled" else "False"
        told = await scene.wait_condition(mistake.condition, status, mistake.reason, name=name)
        missing = [text for text in texts[name] if text not in told["message"]]
        assert not missing, f"{name}: {missing} should be in {told['message']!r}"
        assert (await scene.condition("Ready", name))["status"] == "False", name
        events = await eventually(
            scene.events,
            lambda events, name=name, reason=mistake.reason: any(
                e["regarding"]["name"] == name and e["reason"] == reason and e["type"] == "Warning" for e in events
            ),
            f"an Event {mistake.reason} about {name}",
        )
        logged = [line for line in operator.lines(mistake.condition) if line["service"] == f"{scene.namespace}/{name}"]
        assert [line["reason"] for line in logged] == [mistake.reason], name
    found = await asyncio.to_thread(doctor, scene.namespace, kubeconfig)
    for name in MISTAKES:
        errors = [f for f in found if f["severity"] == "error" and f["subject"] == name]
        assert [f for f in errors if texts[name][0] in f["message"]], f"{name}: {errors}"
        assert all(f["advice"] for f in errors if f["check"] == "condition"), errors
    keys = [key async for key in newer.scan("*", 100)]
    assert keys == [META.encode()], "nothing is written into a store that we cannot follow"

    await scene.delete_pod(1)
    await scene.wait_links_off(1)
    await scene.wait_all_ready(range(3))
    await scene.check_links(on=[0, 2])
    await scene.wait_condition("Ready", "True")

    bodies = (await scene.kube.get(scene.routes_path))["items"]
    events = await scene.events()
    for password in SECRETS:
        assert password not in operator.text()
        assert password not in json.dumps(bodies)
        assert password not in json.dumps(events)


async def test_a_secret_that_comes_late_is_found_soon(
    scene: Scene, redis_url: str, start_operator: StartOperator
) -> None:
    start_operator(scene, resync_seconds=50)
    await scene.make_workload(2)
    await scene.let_read_secret("late")
    await scene.make_route({"redis": {"urlSecretRef": {"name": "late"}}})
    await scene.wait_condition("RedisConnected", "False", "SecretNotFound")
    await scene.make_secret("late", {"url": redis_url})
    await scene.wait_condition("RedisConnected", "True")
    await scene.wait_all_ready(range(2))
    await scene.wait_event("RedisConnectedResolved")


async def test_a_password_that_is_corrected_is_used_soon(
    make_scene: Callable[..., Any], locked: EmbeddedStore, start_operator: StartOperator
) -> None:
    store = Store.from_url(locked.url)
    scene: Scene = await make_scene(store=store)
    operator = start_operator(scene, resync_seconds=50)
    await scene.make_workload(2)
    await scene.make_secret("store", {"url": locked.url.replace(PASSWORD, WRONG_PASSWORD)})
    await scene.make_route({"redis": {"urlSecretRef": {"name": "store"}}})
    await scene.wait_condition("RedisConnected", "False", "AuthenticationFailed")
    await scene.change_secret("store", {"url": locked.url})
    await scene.wait_all_ready(range(2))
    await scene.wait_condition("RedisConnected", "True")
    await scene.wait_condition("Stalled", "False")
    assert PASSWORD not in operator.text()
    assert PASSWORD not in json.dumps([await scene.route(), await scene.events()])
    await store.close()


async def connections(store: Store, user: str) -> set[str]:
    """The ids of a user's connections."""
    return {client["id"] for client in await store.ask_node(None, "CLIENT LIST") if client["user"] == user}


async def test_a_password_that_is_rotated_is_followed_without_a_restart(
    make_scene: Callable[..., Any], locked: EmbeddedStore, start_operator: StartOperator
) -> None:
    store = Store.from_url(locked.url)
    await store.command("ACL", "SETUSER", "operator", "on", f">{PASSWORD}", "+@all", "~*", "&*")
    scene: Scene = await make_scene(store=store)
    operator = start_operator(scene, resync_seconds=1)
    url = f"redis://operator:{PASSWORD}@127.0.0.1:{locked.port}"
    await scene.make_workload(2)
    await scene.make_secret("store", {"url": url})
    await scene.make_route({"redis": {"urlSecretRef": {"name": "store"}}})
    await scene.wait_all_ready(range(2))
    former = await connections(store, "operator")

    await store.command("ACL", "SETUSER", "operator", f">{ROTATED}")
    await scene.change_secret("store", {"url": url.replace(PASSWORD, ROTATED)})
    await eventually(
        lambda: connections(store, "operator"),
        lambda present: present and not present & former,
        "the operator has connected anew",
    )
    await store.command("ACL", "SETUSER", "operator", f"<{PASSWORD}")
    await store.command("CLIENT", "KILL", "USER", "operator")
    await scene.scale(3)
    await scene.wait_all_ready(range(3))
    await scene.wait_condition("RedisConnected", "True")
    assert operator.running
    assert ROTATED not in operator.text()
    await store.close()


async def test_a_secret_that_is_deleted_before_its_route_does_not_leave_keys_behind(
    scene: Scene, redis_url: str, start_operator: StartOperator
) -> None:
    start_operator(scene)
    await scene.make_workload(1)
    await scene.make_secret("store", {"url": redis_url})
    await scene.make_route({"redis": {"urlSecretRef": {"name": "store"}}})
    await scene.wait_all_ready([0])
    await scene.delete_secret("store")  # as the deletion of a namespace may do
    await scene.delete_route()
    await eventually(scene.route, lambda body: not body, "the StatefulRoute is gone")
    assert await scene.dump_namespace() == {}


async def test_without_any_store_the_way_to_name_one_is_told(scene: Scene, start_operator: StartOperator) -> None:
    start_operator(scene, redis_url=None)
    await scene.make_route()
    told = await scene.wait_condition("RedisConnected", "False", "InvalidURL")
    assert "spec.redis.url" in told["message"]
    assert "STATEFUL_ROUTE_REDIS_URL" in told["message"]


async def test_a_default_store_that_is_no_url_is_told_without_its_text(
    scene: Scene, start_operator: StartOperator
) -> None:
    operator = start_operator(scene, redis_url=f"redis//:{PASSWORD}@127.0.0.1")
    await scene.make_route()
    told = await scene.wait_condition("RedisConnected", "False", "InvalidURL")
    assert "STATEFUL_ROUTE_REDIS_URL" in told["message"]
    assert PASSWORD not in told["message"]
    assert PASSWORD not in operator.text()


REFUSED = {
    "a service name with a brace": ({"serviceName": "a{b}"}, "serviceName"),
    "an empty service name": ({"serviceName": ""}, "serviceName"),
    "a URL with a scheme that is no store's": ({"redis": {"url": "http://127.0.0.1"}}, "url"),
    "a password in the URL": ({"redis": {"url": f"redis://:{PASSWORD}@127.0.0.1"}}, "urlSecretRef"),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_the_api_server_refuses(scene: Scene, case: str) -> None:
    spec, named = REFUSED[case]
    with pytest.raises(KubeError) as refused:
        await scene.make_route(spec)
    assert refused.value.status == 422
    assert named in str(refused.value)


CRD_PATH = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{load_crd()['metadata']['name']}"


@pytest.fixture
async def old_crd(kube: TestKube) -> AsyncIterator[None]:
    """A CRD that lets in what ours would refuse, and lacks some fields, as that of an older version might."""
    crd = load_crd()
    parts = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
    del parts["spec"]["properties"]["links"]["properties"]["temporaryTTLSeconds"]["minimum"]
    del parts["spec"]["properties"]["repair"]
    del parts["status"]["properties"]["operator"]
    await kube.merge(CRD_PATH, {"spec": {"versions": crd["spec"]["versions"]}})
    yield
    await kube.merge(CRD_PATH, load_crd())


@pytest.mark.usefixtures("old_crd")
async def test_an_object_that_an_older_crd_let_in_is_told_what_does_not_fit(
    scene: Scene, start_operator: StartOperator
) -> None:
    async def made() -> bool:
        with contextlib.suppress(KubeError):  # refused as long as the API server goes by the newer CRD
            await scene.make_route({"links": {"temporaryTTLSeconds": 1}}, name="old")
            return True
        return False

    await eventually(made, bool, "the API server has taken the older CRD in")
    operator = start_operator(scene, resync_seconds=1)
    stalled = await scene.wait_condition("Stalled", "True", "InvalidResource", name="old")
    assert "spec.links.temporaryTTLSeconds" in stalled["message"]
    assert (await scene.condition("Ready", "old"))["status"] == "False"
    assert (await scene.wait_event("InvalidResource"))["regarding"]["name"] == "old"
    await scene.make_workload(1)
    await scene.make_route()
    await scene.wait_all_ready([0])
    await scene.wait_resyncs(2)
    assert len(operator.lines("StatefulRoute ignored")) == 1, "said once"
    await scene.change_route({"links": {"temporaryTTLSeconds": 300}}, name="old")
    await scene.wait_condition("Stalled", "True", "WorkloadNotFound", name="old")


@pytest.mark.usefixtures("old_crd")
async def test_a_crd_that_is_older_than_the_operator_is_told_and_all_is_served(
    scene: Scene, start_operator: StartOperator, kube: TestKube, kubeconfig: Path
) -> None:
    operator = start_operator(scene, resync_seconds=1, release="one/sr", claim_seconds=6)
    await scene.make_workload(2)
    await scene.make_route({"repair": {"periodSeconds": 60}})
    await scene.wait_condition("Ready", "True")
    told = await scene.wait_condition("Degraded", "True", "OutdatedCRD")
    assert "spec.repair" in told["message"]
    assert "kubectl apply -f crds/" in told["message"]
    assert (await scene.wait_event("OutdatedCRD"))["type"] == "Warning"
    (line,) = operator.lines("the CRD is older than this operator")
    assert "status.operator" in line["lacks"]
    found = await asyncio.to_thread(doctor, scene.namespace, kubeconfig)
    errors = [f["check"] for f in found if f["severity"] == "error" and "spec.repair" in f["message"]]
    assert errors == ["CRD", "condition"]
    await kube.merge(CRD_PATH, load_crd())
    await scene.wait_condition("Degraded", "False", "Sound")
    await scene.wait_status(lambda status: status["operator"]["name"] == "one/sr")
    await scene.wait_condition("Ready", "True")


@pytest.mark.usefixtures("old_crd")
async def test_a_route_that_has_come_to_not_fit_is_served_as_it_was_and_can_be_deleted(
    scene: Scene, start_operator: StartOperator
) -> None:
    operator = start_operator(scene, resync_seconds=1)
    await scene.make_workload(2)
    await scene.make_route()
    await scene.wait_all_ready(range(2))
    await scene.link(20, range(2))

    async def changed() -> bool:
        with contextlib.suppress(KubeError):
            await scene.change_route({"links": {"temporaryTTLSeconds": 1}})
            return True
        return False

    await eventually(changed, bool, "the API server has taken the older CRD in")
    await scene.delete_pod(1)
    await scene.wait_links_off(1)
    assert operator.lines("StatefulRoute ignored")
    await scene.delete_route()
    await eventually(scene.route, lambda body: not body, "the StatefulRoute is gone")
    assert (await scene.view()).pods == {}
    assert len(await scene.check_links(on=[0])) == 20


@pytest.mark.usefixtures("old_crd")
async def test_a_route_that_does_not_fit_and_was_served_by_a_former_operator_can_be_deleted(
    scene: Scene, start_operator: StartOperator
) -> None:
    async def made() -> bool:
        with contextlib.suppress(KubeError):
            await scene.make_route({"links": {"temporaryTTLSeconds": 1}})
            return True
        return False

    await eventually(made, bool, "the API server has taken the older CRD in")
    await scene.kube.merge(f"{scene.routes_path}/rooms", {"metadata": {"finalizers": [FINALIZER]}})
    await scene.delete_route()
    start_operator(scene)
    await eventually(scene.route, lambda body: not body, "the StatefulRoute is gone")
    assert scene.service.states in (await scene.wait_event("CleanupIncomplete"))["note"]
