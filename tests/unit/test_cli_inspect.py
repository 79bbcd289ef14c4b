"""The commands that look at services, as far as they need neither Kubernetes nor a store."""

import re
import subprocess
import sys
from pathlib import Path
from typing import get_type_hints

import pytest
import typer.main
from typer.testing import CliRunner

from stateful_route.api.crd import known_fields, load_crd
from stateful_route.cli.app import HELP, app, name_of
from stateful_route.cli.help import flowing
from stateful_route.cli.inspect.reach import forwarding, of_the_operator
from stateful_route.cli.inspect.wait_drained import EXAMPLES
from stateful_route.cli.inspect.wait_drained import main as wait_drained
from stateful_route.cli.operator import operator
from stateful_route.cli.store.session import RedisUrl
from stateful_route.store.urls import SCHEMES

REPO = Path(__file__).resolve().parents[2]
REFERENCE = (REPO / "docs" / "reference" / "cli.md").read_text()
COMMANDS = ("status", "where", "links", "drain", "undrain", "rebalance", "events", "doctor")
BIN = Path(sys.executable).parent


def run(program, *words, **environment):
    """One of the package's executables; with variables: with these alone."""
    return subprocess.run(
        [BIN / program, *words], check=False, capture_output=True, text=True, timeout=60, env=environment or None
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_a_commands_help_has_examples_and_the_options_that_all_share(command):
    shown = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "120"}).stdout
    assert f"stateful-route {command}" in shown.partition("Examples")[2]
    for option in ("--namespace", "--context", "--kubeconfig", "--redis-url", "--output"):
        assert option in shown


def test_every_command_and_its_options_are_in_the_reference():
    lacking = []
    for name, command in typer.main.get_command(app).commands.items():
        if name in COMMANDS:
            section = REFERENCE.partition(f"## {name}\n")[2].partition("\n## ")[0]
            lacking += [
                (name, o) for p in command.params for o in p.opts if o not in section + REFERENCE.split("## ")[0]
            ]
    assert [option for option in lacking if option[1].startswith("--")] == []


@pytest.mark.parametrize("code", ["0", "1", "2", "3", "130"])
def test_the_exit_codes_of_the_help_are_in_the_reference(code):
    assert re.search(rf"\b{code}\b", HELP.partition("Exit codes")[2])
    assert f"\n| {code} |" in REFERENCE


ADDRESSES = {
    "a Service by its full name": ("redis://valkey.data.svc.cluster.local:6380/1", "-n data service/valkey 6380:6380"),
    "a Service of another namespace": ("redis://valkey.data", "-n data service/valkey 6379:6379"),
    "a Service of the same namespace": ("redis://valkey", "-n games service/valkey 6379:6379"),
    "an address of the cluster": ("redis://10.96.0.12:6379", "-n NAMESPACE service/SERVICE 6379:6379"),
    "a login, which is not shown": ("rediss://app:geheim@valkey", "rediss://USER:PASSWORD@127.0.0.1:6379"),
    "servers that name each other": ("redis+sentinel://s1,s2/main", "kubectl exec"),
    "a machine of the internet": ("redis://cache.example.com:6379", None),
    "an address of the internet": ("redis://8.8.8.8:6379", None),
    "this machine": ("redis://localhost:6379", None),
    "this machine by its address": ("redis://127.0.0.1:6379", None),
    "a socket": ("unix:///run/valkey.sock", None),
}


@pytest.mark.parametrize("case", ADDRESSES)
def test_how_to_reach_a_store_from_outside(case):
    url, words = ADDRESSES[case]
    hint = forwarding(url, "games")
    assert hint is None if words is None else words in hint
    assert "geheim" not in str(hint)


def test_help_names_every_scheme_of_a_store():
    options = [RedisUrl, get_type_hints(operator, include_extras=True)["redis_url"]]
    helps = [option.__metadata__[0].help for option in options]
    assert [[scheme for scheme in SCHEMES if f"{scheme}://" not in text] for text in helps] == [[], []]


def test_a_store_that_is_the_operators_is_looked_at_from_its_pod_or_by_a_port_forward():
    hint = of_the_operator("games")
    assert "kubectl exec -n stateful-route deploy/stateful-route -- stateful-route status -n games" in hint
    assert "kubectl port-forward" in hint


def test_help_flows_where_the_terminal_wraps_and_examples_keep_their_lines():
    assert flowing("One\n    two.\n\n    Three\n    four.\n\n      an example\n    ") == (
        "One two.\n\nThree four.\n\n  an example"
    )


def test_kubectls_plugin_calls_itself_so():
    assert name_of("/usr/bin/kubectl-stateful_route") == "kubectl stateful-route"
    assert name_of("/usr/bin/stateful-route") == "stateful-route"
    done = run("kubectl-stateful_route", "status", "--nonsense")
    assert done.returncode == 2
    assert "Usage: kubectl stateful-route status" in done.stderr


COMPLETIONS = {
    "commands": (("wh",), {"where"}),
    "all commands": (("",), {*COMMANDS, "wait-drained", "operator", "demo", "store", "release-finalizers"}),
    "options": (("drain", "--red"), {"--redis-url"}),
}


@pytest.mark.parametrize("case", COMPLETIONS)
def test_kubectl_is_told_how_to_complete(case):
    words, proposals = COMPLETIONS[case]
    done = run("kubectl_complete-stateful_route", *words)
    *found, directive = done.stdout.splitlines()
    assert (set(found), directive, done.returncode) == (proposals, ":4", 0)


def test_the_shell_is_told_how_to_complete():
    words = {"COMP_WORDS": "stateful-route un", "COMP_CWORD": "1", "_STATEFUL_ROUTE_COMPLETE": "complete_bash"}
    done = run("stateful-route", PATH=str(BIN), **words)
    assert done.stdout.split() == ["undrain"]
    asked = run("/bin/bash", "-c", f"{BIN}/stateful-route --show-completion; exit $?", PATH="/usr/bin:/bin")
    assert "_STATEFUL_ROUTE_COMPLETE" in asked.stdout, "the shell that asks is found among the processes"


WRONG = {
    "no store": (("--pod", "rooms-0", "-n", "games"), "no store is given"),
    "no pod": (("--redis-url", "redis://x"), "the environment lacks"),
    "a pod without an ordinal": (("--redis-url", "redis://x", "-n", "games", "--pod", "rooms"), "'rooms'"),
    "a store of no known kind": (("--redis-url", "http://x", "-n", "games", "--pod", "rooms-0"), "must begin with"),
    "no time": (("--redis-url", "redis://x", "--deadline-seconds", "0"), "over 0"),
    "a time that is no number": (("--redis-url", "redis://x", "--deadline-seconds", "nan"), "not nan"),
    "a time without an end": (("--redis-url", "redis://x", "--deadline-seconds", "inf"), "not inf"),
    "a time before now": (("--redis-url", "redis://x", "--deadline-seconds=-inf"), "not -inf"),
    "a time that no timer knows": (("--redis-url", "redis://x", "--deadline-seconds", "1e308"), "not 1e+308"),
    "an unknown option": (("--nonsense",), "--nonsense"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wait_drained_names_what_is_wrong(case, monkeypatch, capsys):
    for name in ("STATEFUL_ROUTE_REDIS_URL", "POD_NAME", "POD_NAMESPACE", "POD_INDEX", "STATEFUL_ROUTE_NAMESPACE"):
        monkeypatch.delenv(name, raising=False)
    words, message = WRONG[case]
    with pytest.raises(SystemExit) as ended:
        wait_drained(words)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_wait_drained_says_so_when_the_store_is_away_until_the_deadline(capsys):
    words = ("--redis-url", "redis://127.0.0.1:1", "-n", "games", "--pod", "rooms-0", "--deadline-seconds", "0.7")
    assert wait_drained(words) == 3
    said = capsys.readouterr().err
    assert "trying again" in said
    assert "the store does not answer after 0.7 s" in said


@pytest.mark.parametrize("code", ["0", "1", "2", "3"])
def test_wait_drained_documents_its_exit_codes(code):
    assert re.search(rf"^  {code}  ", EXAMPLES, flags=re.MULTILINE)
    done = CliRunner().invoke(app, ["wait-drained", "--help"])
    assert (done.exit_code, EXAMPLES.splitlines()[0] in done.stdout) == (0, True)


def test_the_fields_of_the_shipped_crd_are_known_and_of_no_other_version():
    crd = load_crd()
    assert {"spec", "spec.redis.url", "spec.drain.linksPerSecond"} <= known_fields(crd, "v1alpha1")
    assert known_fields(crd, "v1") == set()
    crd["spec"]["versions"][0]["served"] = False
    assert known_fields(crd, "v1alpha1") == set()
