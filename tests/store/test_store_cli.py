"""``stateful-route store`` as the person on call meets it, on a real server.

Most commands run in this process, which takes a tenth of the time; those that are killed, or need a terminal, do not.
"""

import asyncio
import json
import os
import pty
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from stateful_route.cli.app import app
from stateful_route.domain.incarnation import Incarnation
from stateful_route.domain.record import OperatorRecord
from stateful_route.domain.routing import Reason, RoutingState
from stateful_route.store.index import count_links
from stateful_route.store.keys import META, Service
from stateful_route.store.links import get_link, set_link, set_link_call
from stateful_route.store.states import claim, get_service, set_operator_states, set_state
from support.waiting import eventually

ENTRY_POINT = Path(sys.executable).with_name("stateful-route")
COMMANDS = ("links", "pods", "repair", "rebuild", "adopt", "export", "import")
OWNER = "cluster-1/route-1"
OURS = {name for name in os.environ if name.startswith("STATEFUL_ROUTE_")} | {"FORCE_COLOR", "GITHUB_ACTIONS"}


def environment(**variables):
    return {**{name: value for name, value in os.environ.items() if name not in OURS}, "COLUMNS": "160", **variables}


def store_command(*words, **variables):
    """Run a command of ``stateful-route store``, with no terminal."""
    cleared = dict.fromkeys(OURS)
    done = CliRunner().invoke(app, ["store", *map(str, words)], env={**cleared, "COLUMNS": "160", **variables})
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return subprocess.CompletedProcess(words, done.exit_code, done.stdout, done.stderr)


@pytest.fixture
def cli(server, raw):
    """Run a command on the (empty) server."""

    async def run(*words, **variables):
        variables.setdefault("STATEFUL_ROUTE_REDIS_URL", server.url)
        return await asyncio.to_thread(store_command, *words, **variables)

    return run


async def killed_when_begun(url, file, how, rate):
    """Begin an export into the file and end it by a signal as soon as something is written; exit code and stderr."""
    words = ("store", "export", "rooms", "--file", str(file), "--keys-per-second", rate)
    running = await asyncio.create_subprocess_exec(
        ENTRY_POINT, *words, env=environment(STATEFUL_ROUTE_REDIS_URL=url), stderr=subprocess.PIPE
    )

    async def size():
        return file.stat().st_size if file.exists() else 0

    await eventually(size, bool, "the export writes")
    running.send_signal(how)
    _, said = await running.communicate()
    return running.returncode, said.decode()


@pytest.fixture
def rooms():
    return Service("default", "rooms")


def rows(text):
    """The cells of a printed table without its head."""
    return [re.split(r"\s{2,}", line.strip()) for line in text.splitlines()[1:]]


async def answer(cli, *words, **variables):
    """What it printed as JSON; nothing else may be there."""
    done = await cli(*words, "-o", "json", **variables)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


# Looking


async def test_the_links_of_a_user_are_shown(cli, store, raw, rooms):
    made = await set_link(store, rooms, "alice", 2)
    await set_link(store, Service("default", "chat"), "alice", 0, 300)
    await raw.set("sf:{default:lk:alice}lobby", "3")
    await raw.hset("sf:{default:lk:alice}", mapping={"lobby": "3", "gone": "1"})
    done = await cli("links", "alice")
    assert (done.returncode, done.stderr) == (0, "")
    chat, lobby, room = rows(done.stdout)
    assert (chat[0], chat[1]) == ("chat", "0")
    assert re.fullmatch(r"(5m0s|4m5\ds) left", chat[2])
    assert lobby == ["lobby", "3", "persistent", "not indexed"]
    assert room == ["rooms", "2", "persistent", str(made.epoch)]
    shown = await answer(cli, "links", "alice")
    assert shown[2] == {"service": "rooms", "pod": 2, "persistent": True, "secondsLeft": None, "epoch": made.epoch}
    assert 0 < shown[0]["secondsLeft"] <= 300


async def test_no_link_is_an_answer(cli):
    done = await cli("links", "bob", "-n", "games")
    assert (done.returncode, done.stdout) == (0, "")
    assert "'bob' has no link in namespace 'games'" in done.stderr
    assert await answer(cli, "links", "bob") == []


async def test_the_pods_of_a_service_are_shown(cli, store, rooms):
    record = OperatorRecord(
        state=RoutingState.DENY_NEW_CALL,
        reason=Reason.DRAIN_REQUESTED,
        incarnation=Incarnation("uid", 1),
        address="h:1",
    )
    await claim(store, rooms, OWNER, {"heartbeat": "Auto"})
    await set_state(store, rooms, 0, RoutingState.READY, load=12.5)
    await set_state(store, rooms, 1, RoutingState.READY)
    await set_operator_states(store, rooms, OWNER, {1: record})
    await store.run_many([set_link_call(rooms, f"user-{number}", number % 3) for number in range(30)])
    done = await cli("pods", "rooms")
    assert done.returncode == 0
    assert [row[:5] for row in rows(done.stdout)] == [
        ["0", "READY", "no operator", "12.5", "10"],
        ["1", "DENY_NEW_CALL", "DrainRequested", "0", "10"],
        ["2", "-", "no state, links only", "-", "10"],
    ]
    assert OWNER in done.stderr
    shown = await answer(cli, "pods", "rooms")
    assert shown["owner"] == OWNER
    assert [pod["links"] for pod in shown["pods"]] == [10, 10, 10]
    assert (shown["pods"][1]["address"], shown["pods"][1]["incarnation"]) == ("h:1", "uid/1")


async def test_an_unknown_service_is_said_to_be(cli):
    done = await cli("pods", "roms")
    assert (done.returncode, done.stdout) == (0, "")
    assert "nothing is known of service 'roms' in namespace 'default'" in done.stderr


async def test_looking_writes_nothing(cli, raw):
    for words in (("links", "ada"), ("pods", "rooms"), ("export",)):
        assert (await cli(*words)).returncode == 0
    assert await raw.keys() == []


async def test_the_namespace_comes_from_the_environment_too(cli, store):
    await set_link(store, Service("games", "rooms"), "ada", 1)
    assert len(await answer(cli, "links", "ada", STATEFUL_ROUTE_NAMESPACE="games")) == 1


# Mending


async def test_a_repair_tells_what_it_found(cli, store, raw, rooms):
    await store.run_many([set_link_call(rooms, f"user-{number}", 1) for number in range(20)])
    await raw.delete(rooms.link("user-0"))
    await raw.set(rooms.link("theirs"), 2)
    nothing = {"expired": 0, "moved": 0, "found": 0, "foreign": 0, "broken": 0}
    assert await answer(cli, "repair", "rooms", "--keys-per-second", "1e9") == nothing | {"expired": 1}
    assert await answer(cli, "repair", "rooms", "--foreign", "--keys-per-second", "1e9") == nothing | {"found": 1}
    assert await count_links(store, rooms) == {1: 19, 2: 1}


async def test_a_rebuild_brings_a_lost_index_back(cli, store, raw, rooms):
    await store.run_many([set_link_call(rooms, f"user-{number}", 1) for number in range(20)])
    for key in await raw.keys("sf:{*}ix:*"):
        await raw.delete(key)
    done = await cli("rebuild", "rooms", "--keys-per-second", "1e9")
    assert done.returncode == 0
    assert ["found", "20", "links that were not in the index, entered"] in rows(done.stdout)
    assert await count_links(store, rooms) == {1: 20}


# Owning


async def test_a_service_is_handed_to_whom_was_named(cli, store, rooms):
    await claim(store, rooms, OWNER, {"heartbeat": "Auto"})
    assert await answer(cli, "adopt", "rooms", "--owner", "b/2", "--yes") == {
        "service": "rooms",
        "namespace": "default",
        "before": OWNER,
        "owner": "b/2",
    }
    assert (await get_service(store, rooms)).owner == "b/2"


async def test_a_service_is_freed_for_the_operator_that_waits_and_its_records_stay(cli, store, raw, rooms):
    await claim(store, rooms, OWNER, {"heartbeat": "Auto"})
    await raw.hset(rooms.records, "0", "x")
    done = await cli("adopt", "rooms", "--yes")
    assert f"default/rooms: from {OWNER} to the operator that claims it next" in done.stderr
    assert await raw.hgetall(rooms.records) == {"0": "x"}
    await claim(store, rooms, "b/2", {"heartbeat": "Auto"})


async def test_without_a_terminal_or_yes_nothing_is_handed_over(cli, store, rooms):
    await claim(store, rooms, OWNER, {"heartbeat": "Auto"})
    done = await cli("adopt", "rooms")
    assert done.returncode == 2
    assert OWNER in done.stderr
    assert "--yes" in done.stderr
    assert (await get_service(store, rooms)).owner == OWNER


async def test_nothing_is_to_do_where_nobody_owns_it(cli):
    done = await cli("adopt", "rooms")
    assert done.returncode == 0
    assert "belongs to nobody already" in done.stderr


# Moving


async def test_an_archive_goes_out_and_in(cli, store, raw, rooms, tmp_path):
    await store.run_many([set_link_call(rooms, f"user-{number}", number % 3, 3000) for number in range(60)])
    await set_link(store, Service("default", "chat"), "ada", 7)
    before = {uid: await get_link(store, rooms, uid) for uid in ("user-0", "user-59")}
    file = tmp_path / "all.jsonl"
    done = await cli("export", "--file", file, "--keys-per-second", "1e9")
    assert (done.returncode, done.stdout) == (0, "")
    assert "61 links exported" in done.stderr
    assert (await cli("export", "rooms", "--keys-per-second", "1e9")).stdout.count('"kind":"link"') == 60
    await raw.flushall()
    assert await answer(cli, "import", file) == {"written": 61, "kept": 0, "expired": 0, "workloads": 0}
    assert await answer(cli, "import", file) == {"written": 0, "kept": 61, "expired": 0, "workloads": 0}
    for uid, link in before.items():
        now = await get_link(store, rooms, uid)
        assert now.ordinal == link.ordinal
        assert now.epoch > link.epoch
    assert await raw.hget(META, "layout") == "1"
    assert (await answer(cli, "import", file, "-n", "games"))["written"] == 61
    assert await count_links(store, Service("games", "chat")) == {7: 1}


async def test_an_export_that_was_killed_goes_on(cli, server, store, raw, rooms, tmp_path):
    await store.run_many([set_link_call(rooms, f"user-{number}", 1) for number in range(2000)])
    file = tmp_path / "rooms.jsonl"
    await killed_when_begun(server.url, file, signal.SIGKILL, "1000")
    with file.open("a") as torn:
        torn.write('{"kind":"li')
    assert (await cli("export", "rooms", "--file", file)).returncode == 2
    assert (await cli("export", "rooms", "--file", file, "--resume", "--keys-per-second", "1e9")).returncode == 0
    await raw.flushall()
    done = await cli("import", file)
    assert "not complete" not in done.stderr
    assert await count_links(store, rooms) == {1: 2000}


async def test_an_export_that_is_interrupted_says_how_to_go_on(server, store, raw, rooms, tmp_path):
    await store.run_many([set_link_call(rooms, f"user-{number}", 1) for number in range(2000)])
    file = tmp_path / "rooms.jsonl"
    code, said = await killed_when_begun(server.url, file, signal.SIGINT, "1000")
    assert code == 130
    assert "--resume" in said
    assert "Traceback" not in said


async def test_an_export_that_was_refused_is_continued_when_it_is_allowed(cli, server, store, raw, rooms, tmp_path):
    await set_link(store, rooms, "ada", 1)
    await raw.execute_command("ACL", "SETUSER", "app", "on", ">pw", "~*", "&*", "+@all", "-scan")
    url = server.url.replace("://", "://app:pw@")
    file = tmp_path / "rooms.jsonl"
    try:
        done = await cli("export", "rooms", "--file", file, "--redis-url", url)
    finally:
        await raw.execute_command("ACL", "DELUSER", "app")
    assert done.returncode == 1
    assert "scan" in done.stderr
    assert "when the cause has been removed, repeat the command with --resume to continue" in done.stderr
    assert (await cli("export", "rooms", "--file", file, "--resume")).returncode == 0
    assert '"uid":"ada"' in file.read_text()


async def test_an_export_that_could_not_begin_has_nothing_to_continue(cli, server, rooms, tmp_path):
    file = tmp_path / "rooms.jsonl"
    done = await cli("export", "rooms", "--file", file, "--redis-url", server.url.replace("://", "://:wr0ng@"))
    assert done.returncode == 1
    assert "--resume" not in done.stderr
    assert not file.exists()


async def test_an_archive_that_is_not_complete_is_imported_and_said_to_be(cli, store, rooms, tmp_path):
    await set_link(store, rooms, "ada", 1)
    lines = (await cli("export", "rooms")).stdout.splitlines()
    file = tmp_path / "half.jsonl"
    file.write_text("\n".join(lines[:-1]) + "\n")
    done = await cli("import", file)
    assert done.returncode == 0
    assert "the archive of default/rooms is not complete" in done.stderr


async def test_a_bad_line_is_named_and_the_import_goes_on_behind_it(cli, store, rooms, tmp_path):
    file = tmp_path / "bad.jsonl"
    good = '{"kind":"link","namespace":"default","service":"rooms","uid":"%s","pod":1}\n'
    file.write_text(good % "ada" + "nonsense\n" + good % "bob")
    done = await cli("import", file)
    assert done.returncode == 2
    assert "line 2 cannot be imported" in done.stderr
    assert (await cli("import", file, "--from-line", "3")).returncode == 0
    assert await count_links(store, rooms) == {1: 1}


# What goes wrong


WRONG = {
    # sentence: (words, exit code, what is said)
    "a uid with a brace": (("links", "a{b"), 2, "has a brace"),
    "an empty uid": (("links", ""), 2, "must not be empty"),
    "a service with a brace": (("pods", "a}b"), 2, "has a brace"),
    "a namespace with a colon": (("pods", "rooms", "-n", "a:b"), 2, "has a colon"),
    "no service": (("repair",), 2, "SERVICE"),
    "another form": (("pods", "rooms", "-o", "xml"), 2, "xml"),
    "a rate of nothing": (("repair", "rooms", "--keys-per-second", "0"), 2, "keys-per-second"),
    "a file that is not there": (("import", "/nowhere/x.jsonl"), 2, "/nowhere/x.jsonl: No such file"),
    "a folder that is not there": (("export", "--file", "/nowhere/x.jsonl"), 2, "/nowhere/x.jsonl: No such file"),
    "to go on without a file": (("export", "--resume"), 2, "--resume needs the --file"),
}


@pytest.mark.parametrize("sentence", WRONG)
def test_what_is_wrong_is_named_before_the_store_is_asked(sentence):
    words, code, says = WRONG[sentence]
    done = store_command(*words, STATEFUL_ROUTE_REDIS_URL="redis://127.0.0.1:1")
    assert (done.returncode, done.stdout) == (code, "")
    assert says in done.stderr
    assert "Traceback" not in done.stderr


STORES = {
    "none": ({"STATEFUL_ROUTE_REDIS_URL": ""}, 2, "use --redis-url or STATEFUL_ROUTE_REDIS_URL"),
    "a scheme of something else": ({"STATEFUL_ROUTE_REDIS_URL": "http://:s3cret@h"}, 2, "must begin with"),
    "one that is away": ({"STATEFUL_ROUTE_REDIS_URL": "redis://:s3cret@127.0.0.1:1"}, 1, "see that it runs"),
}


@pytest.mark.parametrize("sentence", STORES)
def test_a_store_that_cannot_be_used_is_named_without_its_password(sentence):
    variables, code, says = STORES[sentence]
    done = store_command("pods", "rooms", **variables)
    assert (done.returncode, done.stdout) == (code, "")
    assert says in done.stderr
    assert "s3cret" not in done.stderr


async def test_a_store_that_refuses_is_told_apart(cli, server, raw):
    url = server.url.replace("redis://", "redis://nobody:s3cret@")
    done = await cli("pods", "rooms", STATEFUL_ROUTE_REDIS_URL=url)
    assert done.returncode == 1
    assert "correct the user or password" in done.stderr
    assert "s3cret" not in done.stderr
    await raw.hset(META, "layout", "99")
    done = await cli("repair", "rooms")
    assert done.returncode == 1
    assert "upgrade stateful-route" in done.stderr


# How it looks


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_help_with_examples(command):
    done = store_command(command, "--help")
    assert f"stateful-route store {command}" in done.stdout.partition("Examples")[2]
    assert {"--redis-url", "--output"} <= set(re.findall(r"--[a-z-]+", done.stdout))
    assert "\x1b" not in done.stdout


def test_the_help_lists_the_commands_and_the_exit_codes():
    done = store_command("--help")
    assert [name for name in COMMANDS if not re.search(rf"│ {name}\s", done.stdout)] == []
    assert "Exit codes: 0 done" in done.stdout


def test_the_commands_need_neither_kubernetes_nor_the_operator():
    code = (
        "import sys, stateful_route.cli.app; print([m for m in ('kopf', 'kubernetes', 'pydantic') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "[]\n"


async def test_there_are_colours_on_a_terminal_only(cli, server, store, rooms):
    await set_state(store, rooms, 0, RoutingState.READY)
    assert "\x1b" not in (await cli("pods", "rooms", TERM="xterm-256color")).stdout
    outside, inside = pty.openpty()
    variables = environment(STATEFUL_ROUTE_REDIS_URL=server.url, TERM="xterm-256color")
    words = ("store", "pods", "rooms")
    running = await asyncio.create_subprocess_exec(ENTRY_POINT, *words, env=variables, stdin=inside, stdout=inside)
    os.close(inside)
    assert await asyncio.wait_for(running.wait(), 30) == 0
    assert b"\x1b[32mREADY" in os.read(outside, 65536)
    os.close(outside)
