"""What the person on call asks, and does, by ``stateful-route``: on a real API server, with a real operator."""

import asyncio
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
import yaml

from stateful_route.api.crd import load_crd
from stateful_route.devcluster.embedded_store import EmbeddedStore, find_servers
from stateful_route.domain.routing import Reason, RoutingState
from stateful_route.kube.client import KubeError
from stateful_route.kube.pods import DRAIN_ANNOTATION
from stateful_route.store.connection import Store
from stateful_route.store.index import purge
from support.inspected_fleet import environment
from support.redis_cluster import three_nodes
from support.scene import Scene
from support.servers import starting
from support.shifted_clock import COMPILER, ShiftedClock
from support.waiting import eventually

ENTRY_POINT = Path(sys.executable).with_name("stateful-route")
NAMES = ("rooms-0", "rooms-1", "rooms-2")


@pytest.fixture(autouse=True)
async def linked(fleet):
    """Before each test 30 users are linked to each pod, none is asked to drain, and all are READY."""
    async with fleet.scene() as scene:
        for ordinal in range(3):
            await scene.annotate_pod(ordinal, DRAIN_ANNOTATION, None)
        await scene.wait_all_ready(range(3))
        await purge(scene.store, scene.service)
        await scene.link(90, range(3))


def words_of(text):
    """The cells of a printed table, without its head."""
    return [re.split(r"\s{2,}", line.strip()) for line in text.splitlines()[1:]]


def process_environment(fleet):
    return {name: value for name, value in {**os.environ, **environment(fleet)}.items() if value is not None}


def started(fleet, *words):
    """A command that goes on until it is ended; what it prints comes line by line."""
    env = process_environment(fleet)
    return subprocess.Popen([ENTRY_POINT, *words], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


# Looking


def test_status_shows_each_pod_with_state_reason_load_and_links(cli):
    done = cli("status", "rooms")
    assert done.returncode == 0, done.stderr
    title, head, *lines = done.stdout.splitlines()
    assert "rooms   3 of 3 pods take new users   90 links" in title
    assert head.split() == ["POD", "STATE", "REASON", "SINCE", "LOAD", "LINKS", "KUBERNETES"]
    cells = [line.split() for line in lines]
    assert [(pod, state, reason, load, links, word) for pod, state, reason, _, load, links, word in cells] == [
        (name, "READY", "Ready", "0", "30", "Ready") for name in NAMES
    ]
    assert "\x1b" not in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 100


@pytest.mark.parametrize(("form", "read"), [("json", json.loads), ("yaml", yaml.safe_load)])
def test_status_gives_all_of_it_to_machines(cli, fleet, form, read):
    done = cli("status", "-o", form)
    assert (done.returncode, done.stderr) == (0, "")
    (service,) = read(done.stdout)
    assert (service["service"], service["namespace"], service["links"]) == ("rooms", fleet.namespace, 90)
    assert {c["type"]: c["status"] for c in service["conditions"]}["Ready"] == "True"
    assert [(pod["name"], pod["state"], pod["links"]) for pod in service["pods"]] == [(n, "READY", 30) for n in NAMES]
    assert service["pods"][1]["address"] == f"rooms-1.rooms.{fleet.namespace}.svc"


def test_a_namespace_without_services_is_an_empty_answer_that_says_so(cli, elsewhere):
    done = cli("status", "-n", elsewhere)
    assert (done.returncode, done.stdout) == (0, "")
    assert f"no StatefulRoute in namespace '{elsewhere}'" in done.stderr


@pytest.mark.parametrize("words", [("status", "room"), ("events", "room"), ("rebalance", "room", "--max-moves", "1")])
def test_a_service_that_is_not_there_is_named_with_those_that_are(cli, words):
    done = cli(*words)
    assert (done.returncode, done.stdout) == (1, "")
    assert re.search(r"no StatefulRoute 'room' in namespace .*: there are: rooms", done.stderr)


def test_the_namespace_is_that_of_the_kubeconfigs_context(cli, fleet, tmp_path):
    config = yaml.safe_load(fleet.kubeconfig.read_text())
    (context,) = config["contexts"]
    config["contexts"].append({"name": "here", "context": {**context["context"], "namespace": fleet.namespace}})
    path = tmp_path / "config"
    path.write_text(yaml.safe_dump(config))
    variables = {"KUBECONFIG": str(path), "STATEFUL_ROUTE_NAMESPACE": ""}
    assert "no StatefulRoute in namespace 'default'" in cli("status", **variables).stderr
    assert "90 links" in cli("status", "--context", "here", **variables).stdout
    done = cli("status", "--context", "there", **variables)
    assert done.returncode == 1
    assert "no context 'there'; it has:" in done.stderr
    assert "here" in done.stderr


async def test_a_watch_prints_the_service_again_when_it_has_changed(fleet):
    process = started(fleet, "status", "rooms", "-w", "-o", "json")
    try:
        first = json.loads(await asyncio.to_thread(process.stdout.readline))
        assert [pod["state"] for pod in first[0]["pods"]] == ["READY"] * 3
        async with fleet.scene() as scene:
            await scene.annotate_pod(2, DRAIN_ANNOTATION, "true")
        second = json.loads(await asyncio.to_thread(process.stdout.readline))
        assert second[0]["pods"][2]["reason"] == "DrainRequested"
    finally:
        process.kill()
        process.communicate()


async def test_a_watch_goes_on_after_an_outage_of_the_api_server_and_ends_by_ctrl_c(fleet, control_plane, privileges):
    process = started(fleet, "status", "rooms", "-w", "-o", "json")
    try:
        await asyncio.to_thread(process.stdout.readline)
        control_plane.stop_api_server()
        try:
            told = await asyncio.wait_for(asyncio.to_thread(process.stderr.readline), 30)
            assert "the API server did not answer" in told
        finally:
            with privileges.api_server_starts():
                control_plane.start_api_server()
        async with fleet.scene() as scene:
            await scene.annotate_pod(2, DRAIN_ANNOTATION, "true")
            after = json.loads(await asyncio.wait_for(asyncio.to_thread(process.stdout.readline), 60))
            while after[0]["pods"][2]["reason"] != "DrainRequested":
                after = json.loads(await asyncio.wait_for(asyncio.to_thread(process.stdout.readline), 60))
        process.send_signal(signal.SIGINT)
        _, said = await asyncio.to_thread(process.communicate, timeout=120)
        assert process.returncode == 130
        assert "Traceback" not in said
    finally:
        process.kill()
        process.communicate()


def test_where_shows_the_pod_of_a_user_and_how_to_reach_it(cli, answer, fleet):
    (found,) = answer("where", "user-4")
    assert (found["service"], found["pod"], found["state"], found["persistent"]) == ("rooms", "rooms-1", "READY", True)
    (row,) = words_of(cli("where", "user-4", "--service", "rooms").stdout)
    assert row[:5] == ["rooms", "rooms-1", "READY", f"rooms-1.rooms.{fleet.namespace}.svc", "persistent"]


def test_a_user_on_no_pod_is_an_empty_answer_that_says_so(cli, answer):
    assert answer("where", "nobody") == []
    done = cli("where", "nobody")
    assert (done.returncode, done.stdout) == (0, "")
    assert "'nobody' is on no pod in namespace" in done.stderr


def test_a_user_that_cannot_be_stored_is_a_wrong_argument(cli):
    done = cli("where", "a{b}")
    assert done.returncode == 2
    assert "has a brace" in done.stderr


def test_links_shows_the_users_of_a_pod_and_how_many_there_are(cli, answer):
    found = answer("links", "rooms-2", "--limit", 0)
    assert (found["total"], {link["uid"] for link in found["links"]}) == (30, {f"user-{n}" for n in range(2, 90, 3)})
    done = cli("links", "rooms-2", "--limit", 5)
    assert len(words_of(done.stdout)) == 5
    assert "5 of 30; --limit 0 shows all" in done.stderr


def test_links_of_a_pod_that_is_not_there_but_might_have_been_are_none(cli):
    done = cli("links", "rooms-7")
    assert (done.returncode, done.stdout) == (0, "")
    assert "nobody is linked to rooms-7" in done.stderr


@pytest.mark.parametrize("command", ["links", "drain", "undrain"])
def test_a_pod_that_nobody_routes_is_named(cli, command):
    done = cli(command, "halls-1")
    assert (done.returncode, done.stdout) == (1, "")
    assert "there is no pod 'halls-1' in namespace" in done.stderr


# Acting


async def test_a_drained_pod_is_empty_and_undrained_takes_users_again(cli, fleet):
    done = await asyncio.to_thread(cli, "drain", "rooms-1", "--wait", "--deadline-seconds", 20, "-o", "json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"pod": "rooms-1", "changed": True, "drainRequested": True, "linksLeft": 0}
    assert "rooms-1 is empty after" in done.stderr
    async with fleet.scene() as scene:
        assert (await scene.pod(1))["metadata"]["annotations"][DRAIN_ANNOTATION] == "true"
        assert not (await scene.placed())[1]
        again = await asyncio.to_thread(cli, "drain", "rooms-1")
        assert "was asked to drain before" in again.stderr
        assert (await asyncio.to_thread(cli, "undrain", "rooms-1")).returncode == 0
        assert DRAIN_ANNOTATION not in ((await scene.pod(1))["metadata"].get("annotations") or {})
        await scene.wait_all_ready([1])
    assert "was not asked to drain" in (await asyncio.to_thread(cli, "undrain", "rooms-1")).stderr


def test_a_drain_that_is_not_over_in_time_says_so_and_goes_on(cli, fleet):
    async def keep_only(ready):
        async with fleet.scene() as scene:
            for ordinal in (0, 1):
                await scene.annotate_pod(ordinal, DRAIN_ANNOTATION, None if ready else "true")
            await (scene.wait_all_ready([0, 1]) if ready else scene.wait_links_off(0, 1))

    asyncio.run(keep_only(ready=False))
    done = cli("drain", "rooms-2", "--wait", "--deadline-seconds", 1)
    assert done.returncode == 3
    assert "90 users are left on rooms-2 after 1 s; the drain goes on" in done.stderr
    assert "90 users left, " in done.stderr
    assert "; no other pod is READY" in done.stderr
    plain = cli("drain", "rooms-2")
    assert plain.returncode == 0
    assert "no other pod is READY: its 90 users stay until one can take them" in plain.stderr
    asyncio.run(keep_only(ready=True))


async def test_wait_drained_asks_for_the_drain_and_ends_when_the_pod_is_empty(fleet):
    waiting = started(
        fleet, "wait-drained", "--pod", "rooms-0", "--redis-url", fleet.redis_url, "--deadline-seconds", "20"
    )
    async with fleet.scene() as scene:
        _, said = await asyncio.to_thread(waiting.communicate)
        assert (waiting.returncode, (await scene.placed())[0]) == (0, 0), said
        assert "rooms-0 is empty after" in said
        await scene.wait_states({0: (RoutingState.DENY_NEW_CALL, Reason.STOPPING)})
        await scene.restart_container(0)
        await scene.wait_all_ready(range(3))


async def test_a_rebalance_moves_as_many_as_allowed_and_tells_why(cli, answer, fleet):
    async with fleet.scene() as scene:
        await scene.link(60, [0], prefix="more")
        assert await scene.counts() == {0: 90, 1: 30, 2: 30}
        plan = await asyncio.to_thread(answer, "rebalance", "rooms", "--max-moves", 7, "--dry-run")
        assert sum(shift["links"] for shift in plan["planned"]) == 7
        assert plan["moved"] == []
        refused = await asyncio.to_thread(cli, "rebalance", "rooms", "--max-moves", 7)
        assert refused.returncode == 2
        assert "repeat it with --yes" in refused.stderr
        before = await scene.counts()
        await asyncio.to_thread(answer, "rebalance", "rooms", "--max-moves", 7, "--yes")
        after = await scene.counts()
        assert {o: after[o] - before[o] for o in before} == {0: -7, 1: 4, 2: 3}
        assert Counter(move["from"] for move in await scene.moves() if move["reason"] == "Rebalance").keys() == {"0"}
        await asyncio.to_thread(answer, "rebalance", "rooms", "--max-moves", 1000, "--yes")
        even = await scene.counts()
        assert max(even.values()) - min(even.values()) <= 1
        await scene.check_links(on=range(3))
    done = await asyncio.to_thread(cli, "rebalance", "rooms", "--max-moves", 1000, "--yes")
    assert (done.returncode, done.stdout) == (0, "")
    assert "nothing to do" in done.stderr


async def test_a_rebalance_that_is_interrupted_has_moved_whole_links_and_can_be_repeated(cli, fleet):
    async with fleet.scene() as scene:
        await scene.link(300, [0], prefix="more")
        await scene.change_route({"drain": {"linksPerSecond": 50}})
        try:
            process = started(fleet, "rebalance", "rooms", "--max-moves", "1000", "--yes")
            await eventually(scene.counts, lambda counts: counts[0] < 325, "some have moved")
            process.send_signal(signal.SIGINT)
            _, said = await asyncio.to_thread(process.communicate, timeout=120)
        finally:
            await scene.change_route({"drain": {"linksPerSecond": None}})
        assert process.returncode == 130, said
        moved = int(re.search(r"([\d,]+) links moved; \d+ stay: it was interrupted, and can be repeated", said)[1])
        assert "Traceback" not in said
        counts = await scene.counts()
        assert 330 - counts[0] == moved > 0
        assert counts[0] > 150, "it has ended long before the plan was carried out"
        assert len(await scene.check_links(on=range(3))) == 390
        await asyncio.to_thread(cli, "rebalance", "rooms", "--max-moves", 1000, "--yes")
        even = await scene.counts()
        assert max(even.values()) - min(even.values()) <= 1
        await scene.check_links(on=range(3))


async def test_a_rebalance_evens_out_the_one_service_where_services_have_stores_of_their_own(cli, fleet):
    kind = find_servers()[0]
    with starting(kind) as start, three_nodes(start) as cluster:
        async with fleet.scene() as rooms:
            store = Store.from_url(cluster.url)
            lobby = Scene(rooms.kube, fleet.namespace, store, "lobby")
            await lobby.make_workload(2)
            await lobby.make_route({"redis": {"url": cluster.url}})
            await lobby.wait_all_ready(range(2))
            await lobby.link(40, [0])
            await rooms.link(60, [0], prefix="more")
            before = await rooms.counts()
            done = await asyncio.to_thread(cli, "rebalance", "lobby", "--max-moves", 15, "--yes")
            assert done.returncode == 0, done.stderr
            assert "15 links moved" in done.stderr
            assert await lobby.counts() == {0: 25, 1: 15}
            await lobby.check_links(on=range(2))
            assert await rooms.counts() == before
            await asyncio.to_thread(cli, "rebalance", "rooms", "--max-moves", 10, "--yes")
            assert (await rooms.counts())[0] == before[0] - 10
            assert await lobby.counts() == {0: 25, 1: 15}
            await lobby.delete_route()
            await eventually(lobby.route, lambda body: not body, "the StatefulRoute is gone")
            await rooms.kube.delete(f"{lobby.workload_path}/lobby")
            await store.close()


async def test_events_tells_what_has_happened_and_goes_on(cli, answer, fleet):
    async with fleet.scene() as scene:
        await scene.annotate_pod(1, DRAIN_ANNOTATION, "true")
        await scene.wait_links_off(1)
    found = await asyncio.to_thread(answer, "events", "rooms", "--last", 500)
    drained = [event for event in found if event["reason"] == "DrainRequested" and event["pod"] == "rooms-1"]
    assert drained[0]["kind"] == "StateChanged"
    moved = [event for event in drained if event["kind"] == "LinksMoved"]
    assert sum(event["links"] for event in moved) >= 30
    assert set().union(*(event["to"] for event in moved)) == {"rooms-0", "rooms-2"}
    assert [event["time"] for event in found] == sorted(event["time"] for event in found)
    line = (await asyncio.to_thread(cli, "events", "rooms", "--last", 500)).stdout
    assert re.search(r"rooms-1  READY → DENY_NEW_CALL  \(DrainRequested\)", line)
    process = started(fleet, "events", "rooms", "-f", "--last", "1", "-o", "json")
    try:
        await asyncio.to_thread(process.stdout.readline)
        async with fleet.scene() as scene:
            await scene.annotate_pod(1, DRAIN_ANNOTATION, None)
        news = json.loads(await asyncio.to_thread(process.stdout.readline))
        assert (news["pod"], news["to"]) == ("rooms-1", "READY")
    finally:
        process.kill()
        process.communicate()


# When things are wrong


def test_the_doctor_finds_nothing_in_a_sound_fleet(answer):
    found = answer("doctor", "rooms")
    assert [f for f in found if f["severity"] == "error"] == []
    checks = {f["check"]: f["severity"] for f in found}
    sound = ("CRD", "your rights", "Redis", "Redis memory", "clock", "operator", "drift", "headless Service")
    assert {name: checks[name] for name in (*sound, "grace period")} == dict.fromkeys((*sound, "grace period"), "ok")


@pytest.mark.skipif(COMPILER is None, reason="no cc on this machine, which builds the wrong clock")
@pytest.mark.parametrize("shift", [3600, -3600], ids=["an hour ahead", "an hour behind"])
async def test_the_doctor_sees_how_long_an_operator_is_silent_whatever_its_own_clock_says(fleet, tmp_path, shift):
    clock = ShiftedClock(ShiftedClock.built(tmp_path), tmp_path / "shift")
    clock.step_to(shift)

    async def told(silent_seconds):
        at = datetime.now(UTC) - timedelta(seconds=silent_seconds)
        async with fleet.scene() as scene:
            written = {"lastProbeTime": at.strftime("%Y-%m-%dT%H:%M:%SZ")}
            await scene.kube.merge(f"{scene.routes_path}/{scene.name}/status", {"status": written})
        command = [ENTRY_POINT, "doctor", "rooms", "-o", "json"]
        env = process_environment(fleet) | clock.environment
        done = await asyncio.to_thread(subprocess.run, command, env=env, capture_output=True, check=False, timeout=60)
        return next(f["severity"] for f in json.loads(done.stdout) if f["check"] == "operator")

    assert await told(silent_seconds=600) == "error"
    assert await told(silent_seconds=10) == "ok"


async def test_the_doctor_sees_a_silent_operator_by_another_statefulroute_that_it_serves(fleet, answer):
    def told():
        found = answer("doctor", "halls", "--redis-url", fleet.redis_url, code=3)  # it has no workload
        return next(f["severity"] for f in found if f["check"] == "operator")

    async with fleet.scene() as scene:
        await scene.make_route({"redis": {"url": fleet.redis_url}}, name="halls")
        try:
            await scene.wait_condition("Ready", "False", name="halls")
            for silent_seconds, severity in ((600, "error"), (10, "ok")):
                at = (datetime.now(UTC) - timedelta(seconds=silent_seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")
                path = f"{scene.routes_path}/{scene.name}/status"
                await scene.kube.merge(path, {"status": {"lastProbeTime": at}})
                assert "lastProbeTime" not in (await scene.route("halls"))["status"]
                assert await asyncio.to_thread(told) == severity
        finally:
            await scene.delete_route("halls")
            await eventually(partial(scene.route, "halls"), lambda body: not body, "the operator has let it go")


def test_the_doctor_finds_a_store_that_evicts_and_that_no_operator_writes(cli, fleet):
    with EmbeddedStore(arguments=("--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru")) as other:
        done = cli("doctor", "rooms", "--redis-url", other.url)
    assert done.returncode == 3
    text = " ".join(done.stdout.split())
    assert "maxmemory-policy allkeys-lru drops links" in text
    assert "the store knows no owner of the service" in text
    assert "→ is an operator running" in text
    assert re.search(r"[3-9] errors", done.stderr)


def test_the_doctor_calls_nothing_ok_that_only_the_store_knows(answer):
    found = answer("doctor", "rooms", "--redis-url", "redis://127.0.0.1:1", code=3)
    checks = {f["check"]: f for f in found}
    assert checks["Redis"]["severity"] == "error"
    assert "host and port" in checks["Redis"]["advice"]
    assert checks["grace period"]["severity"] == "unknown"


def test_a_store_that_only_the_cluster_knows_is_reached_by_a_port_forward(cli, fleet, elsewhere):
    async def make():
        async with fleet.scene(elsewhere) as scene:
            await scene.make_route({"redis": {"url": "redis://valkey.data:6380"}})
            await scene.make_secret("store", {"url": fleet.redis_url})
            await scene.make_route({"redis": {"urlSecretRef": {"name": "store"}}}, name="halls")
            await scene.make_route(name="yards")
            url = f"{fleet.redis_url}?password_file=/etc/hostname"
            await scene.make_route({"redis": {"url": url}}, name="lanes")

    asyncio.run(make())
    done = cli("where", "alice", "--service", "rooms", "-n", elsewhere)
    assert done.returncode == 1
    assert "kubectl port-forward -n data service/valkey 6380:6380" in done.stderr
    assert "--redis-url redis://127.0.0.1:6380" in done.stderr
    assert cli("where", "alice", "--service", "halls", "-n", elsewhere).returncode == 0, "the Secret is read"
    nowhere = cli("where", "alice", "--service", "yards", "-n", elsewhere)
    assert nowhere.returncode == 1
    assert "names no store, it uses the operator's: give --redis-url" in nowhere.stderr
    assert f"deploy/stateful-route -- stateful-route status -n {elsewhere}" in nowhere.stderr
    a_file = cli("where", "alice", "--service", "lanes", "-n", elsewhere)
    assert a_file.returncode == 1, "whoever has written the URL would be sent the file"
    assert "'lanes' reads its login from files here: give --redis-url" in a_file.stderr
    assert cli("where", "alice", "-n", elsewhere, "--redis-url", fleet.redis_url).returncode == 0
    seen = cli("status", "-n", elsewhere)
    assert seen.returncode == 1, "one of the services cannot be read"
    assert "no operator has seen it" in seen.stdout
    sick = cli("doctor", "rooms", "-n", elsewhere)
    assert sick.returncode == 3
    assert "no operator has seen this StatefulRoute" in sick.stdout


def test_the_operators_account_may_look(cli, fleet):
    """As ``kubectl exec`` in its pod does, which has the URL of the store."""
    here = {"KUBECONFIG": str(fleet.operator), "STATEFUL_ROUTE_REDIS_URL": fleet.redis_url}
    for words in (("status",), ("status", "rooms"), ("where", "alice")):
        done = cli(*words, "-n", fleet.namespace, **here)
        assert done.returncode == 0, done.stderr


def test_an_empty_url_undoes_the_variable_of_the_operators_pod(cli, fleet):
    nowhere = {"STATEFUL_ROUTE_REDIS_URL": "redis://127.0.0.1:1"}
    assert cli("status", "rooms", **nowhere).returncode == 1
    assert cli("status", "rooms", "--redis-url", "", **nowhere).returncode == 0, "it is found by the StatefulRoute"


def test_who_may_not_drain_is_told_so_and_the_doctor_knows_it(cli, fleet, control_plane, tmp_path):
    kubectl, namespace = control_plane.kubectl, fleet.namespace
    kubectl("create", "serviceaccount", "reader", "-n", namespace)
    resources = "statefulroutes.statefulroute.io,pods,statefulsets.apps,services"
    kubectl("create", "role", "reader", "-n", namespace, "--verb=get,list", f"--resource={resources}")
    kubectl("create", "rolebinding", "reader", "-n", namespace, "--role=reader", f"--serviceaccount={namespace}:reader")
    config = yaml.safe_load(fleet.kubeconfig.read_text())
    config["users"] = [{"name": config["users"][0]["name"], "user": {"token": token(fleet, kubectl)}}]
    path = tmp_path / "reader"
    path.write_text(yaml.safe_dump(config))
    assert cli("status", "rooms", "--kubeconfig", path).returncode == 0
    refused = cli("drain", "rooms-1", "--kubeconfig", path)
    assert refused.returncode == 1
    assert "cannot patch resource" in refused.stderr
    assert "stateful-route doctor lists what each command needs" in refused.stderr
    done = cli("doctor", "rooms", "--kubeconfig", path, "--operator")
    text = " ".join(done.stdout.split())
    assert "you may not patch pods: without it drain, undrain does not work" in text
    assert "you may not patch statefulroutes/status.statefulroute.io" in text
    assert "you may not read CustomResourceDefinitions" in text
    assert "leases" not in text
    granted = ("list pods", "get pods", "get services", "list statefulroutes", "get statefulsets")
    assert [right for right in granted if f"you may not {right}" in text] == []
    assert done.returncode == 3
    lease = {"STATEFUL_ROUTE_LEASE_NAME": "sr", "STATEFUL_ROUTE_LEASE_NAMESPACE": "default"}
    text = " ".join(cli("doctor", "rooms", "--kubeconfig", path, "--operator", **lease).stdout.split())
    for right in ("create leases.coordination.k8s.io", "get leases.coordination.k8s.io 'sr'", "patch leases"):
        assert f"you may not {right}" in text
    assert "in namespace 'default': without it leading does not work" in text


def token(fleet, kubectl):
    return kubectl("create", "token", "reader", "-n", fleet.namespace).strip()


def test_the_doctor_knows_an_older_resource_definition_and_one_that_is_newer(answer, fleet, elsewhere):
    async def change(to):
        async with fleet.scene() as scene:
            path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/statefulroutes.statefulroute.io"
            await scene.kube.merge(path, {"spec": {"versions": to["spec"]["versions"]}})

    older, newer = load_crd(), load_crd()
    fields = older["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    del fields["repair"]
    fields = newer["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    fields["mode"] = {"type": "string"}
    del fields["drain"]["properties"]["linksPerSecond"]["maximum"]

    async def make_what_only_the_newer_one_takes():
        async with fleet.scene(elsewhere) as scene:

            async def made():
                with contextlib.suppress(KubeError):
                    return await scene.make_route({"drain": {"linksPerSecond": 5_000_000}}, name="fast")

            await eventually(made, bool, "the API server follows the newer definition")

    try:
        asyncio.run(change(older))
        (found,) = (f for f in answer("doctor", code=3) if f["check"] == "CRD")
        assert (found["severity"], "lacks spec.repair" in found["message"]) == ("error", True)
        assert "kubectl apply -f crds/" in found["advice"]
        asyncio.run(change(newer))
        (found,) = (f for f in answer("doctor", "--strict", code=3) if f["check"] == "CRD")
        assert (found["severity"], "does not know spec.mode" in found["message"]) == ("warning", True)
        asyncio.run(make_what_only_the_newer_one_takes())
        unfit = [f for f in answer("doctor", "-n", elsewhere, code=3) if "does not fit" in f["message"]]
        assert [(f["severity"], "spec.drain.linksPerSecond" in f["message"]) for f in unfit] == [("error", True)]
    finally:
        asyncio.run(change(load_crd()))


COMPLETIONS = {
    "of pods": (("drain", ""), list(NAMES)),
    "of services in another namespace": (("status", "-n", "default", ""), []),
}


@pytest.mark.parametrize("case", COMPLETIONS)
def test_the_shell_is_told_the_names(fleet, case):
    words, names = COMPLETIONS[case]
    program = ENTRY_POINT.with_name("kubectl_complete-stateful_route")
    done = subprocess.run(
        [program, *words], env=process_environment(fleet), check=False, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.splitlines()[:-1] == names


def test_without_a_cluster_the_commands_say_what_to_use_instead(cli, tmp_path):
    done = cli("status", KUBECONFIG=str(tmp_path / "none"))
    assert done.returncode == 1
    assert "no way to reach a Kubernetes API server" in done.stderr
    assert "stateful-route store, which needs the store alone" in done.stderr
