"""The command line as a newcomer meets it, and the log lines that it writes."""

import io
import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import kopf
import pytest
import typer.main
from kopf._core.actions.loggers import LocalObjectLogger
from typer.testing import CliRunner

import stateful_route
from stateful_route.cli.app import app
from stateful_route.cli.logs import LogFormat, TextFormatter, Unrepeated, set_up

ENTRY_POINT = Path(sys.executable).with_name("stateful-route")
FORCED_COLOURS = {"FORCE_COLOR", "PY_COLORS", "GITHUB_ACTIONS", "CLICOLOR_FORCE", "TTY_COMPATIBLE"}
OPTIONS = [
    option for option in typer.main.get_command(app).commands["operator"].params if option.envvar and not option.hidden
]
VARIABLES = sorted(str(option.envvar) for option in OPTIONS)


def stateful_route_command(*arguments: str, columns: int = 160, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the entry point with no terminal and none of its environment variables but the given ones."""
    kept = {name: value for name, value in os.environ.items() if name not in {*FORCED_COLOURS, *VARIABLES}}
    return subprocess.run(
        [ENTRY_POINT, *arguments],
        check=False,
        env={**kept, "COLUMNS": str(columns), **variables},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_help_says_what_it_does_and_lists_the_commands():
    done = stateful_route_command("--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "Routes each user to the StatefulSet pod that holds its state" in done.stdout
    assert re.search(r"\boperator\b.*SIGTERM", done.stdout)
    assert re.search(r"\bdemo\b.*on this machine", done.stdout)


def test_no_arguments_show_the_help():
    assert stateful_route_command().stdout.strip() == stateful_route_command("--help").stdout.strip()


def test_the_short_option_shows_the_help_too():
    assert stateful_route_command("-h").stdout == stateful_route_command("--help").stdout


def test_the_version_is_that_of_the_package():
    done = stateful_route_command("--version")
    assert (done.returncode, done.stdout) == (0, f"stateful-route {stateful_route.__version__}\n")


def test_the_module_runs_like_the_entry_point():
    done = subprocess.run(
        [sys.executable, "-m", "stateful_route", "--version"], check=False, capture_output=True, text=True, timeout=30
    )
    assert (done.returncode, done.stdout) == (0, f"stateful-route {stateful_route.__version__}\n")


def test_the_operators_help_has_examples_that_can_be_copied():
    done = stateful_route_command("operator", "--help")
    assert done.returncode == 0
    assert "Examples" in done.stdout
    assert "stateful-route operator --redis-url redis://valkey:6379" in done.stdout
    assert "redis+sentinel://s1,s2/mymaster stateful-route operator --namespaces games,chat" in done.stdout


def test_the_fixed_variables_are_there():
    assert {"STATEFUL_ROUTE_REDIS_URL", "STATEFUL_ROUTE_NAMESPACES"} <= set(VARIABLES)


@pytest.mark.parametrize("columns", [160, 80])
def test_the_operators_help_names_each_environment_variable_in_full(columns):
    shown = stateful_route_command("operator", "--help", columns=columns).stdout
    assert [name for name in VARIABLES if name not in shown] == []


@pytest.mark.parametrize(
    "arguments", [("--nonsense",), ("nonsense",), ("operator", "--nonsense"), ("operator", "extra")]
)
def test_what_is_unknown_is_a_usage_error_that_names_it(arguments):
    done = stateful_route_command(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert arguments[-1] in done.stderr
    assert "Usage: stateful-route" in done.stderr
    assert "Traceback" not in done.stderr


BAD_VALUES = {
    "a resync period of zero": ("--resync-seconds", "0"),
    "a resync period over a minute": ("--resync-seconds", "61"),
    "a Lease of no duration": ("--lease-seconds", "0"),
    "a port that is no number": ("--health-port", "http"),
    "an unknown log format": ("--log-format", "xml"),
}


@pytest.mark.parametrize("case", BAD_VALUES)
def test_a_bad_value_is_a_usage_error_that_names_the_option(case):
    done = stateful_route_command("operator", *BAD_VALUES[case])
    assert done.returncode == 2
    assert BAD_VALUES[case][0] in done.stderr
    assert "Traceback" not in done.stderr


PERIODS = {
    "between two resyncs": ("operator", "--resync-seconds"),
    "for a cleanup": ("operator", "--cleanup-seconds"),
    "for a watch": ("operator", "--watch-seconds"),
    "for the operator's end": ("release-finalizers", "--timeout-seconds"),
    "for a drain": ("drain", "--deadline-seconds"),
}


@pytest.mark.parametrize("seconds", ["nan", "inf", "-inf", "1e308"])
@pytest.mark.parametrize("case", PERIODS)
def test_a_time_that_nobody_can_wait_for_is_a_usage_error_that_names_the_option(case, seconds):
    command, option = PERIODS[case]
    done = CliRunner().invoke(app, [command, option, seconds, *(["rooms-0"] if command == "drain" else [])])
    assert (done.exit_code, option in done.output) == (2, True), done.output


def test_a_time_in_the_environment_that_nobody_can_wait_for_is_a_usage_error():
    done = stateful_route_command("operator", STATEFUL_ROUTE_RESYNC_SECONDS="nan")
    assert (done.returncode, "STATEFUL_ROUTE_RESYNC_SECONDS" in done.stderr) == (2, True), done.stderr


def test_a_bad_value_in_the_environment_is_a_usage_error_that_names_the_variable():
    done = stateful_route_command("operator", STATEFUL_ROUTE_HEALTH_PORT="http")
    assert done.returncode == 2
    assert "STATEFUL_ROUTE_HEALTH_PORT" in done.stderr


def test_an_unknown_log_level_is_a_usage_error():
    done = stateful_route_command("operator", "--log-level", "loud")
    assert (done.returncode, "Traceback" in done.stderr) == (2, False)


def test_without_a_cluster_the_operator_says_so_and_ends(tmp_path):
    done = stateful_route_command("operator", KUBECONFIG=str(tmp_path / "none"), KUBERNETES_SERVICE_HOST="")
    assert done.returncode == 1
    assert "stateful-route operator: no way to reach a Kubernetes API server" in done.stderr
    assert f"no kubeconfig at {tmp_path / 'none'}: set KUBECONFIG" in done.stderr
    assert "Traceback" not in done.stderr


def test_outside_of_a_pod_a_lease_needs_a_namespace():
    done = stateful_route_command("operator", "--lease-name", "stateful-route")
    assert done.returncode == 2
    assert "--lease-namespace" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [(), ("--help",), ("operator", "--help"), ("demo", "--help"), ("--nonsense",), ("operator", "--nonsense")],
)
def test_there_are_no_colours_when_it_is_not_a_terminal(arguments):
    done = stateful_route_command(*arguments, TERM="xterm-256color")
    assert "\x1b" not in done.stdout + done.stderr
    assert done.stdout + done.stderr


def record(message: str = "links moved", level: int = logging.INFO, **fields: object) -> logging.LogRecord:
    logger = logging.getLogger("stateful_route.reconcile.moving")
    return logger.makeRecord(logger.name, level, "moving.py", 1, message, (), None, extra=fields)


def text_line(**fields: object) -> str:
    """A line of text without its time."""
    return TextFormatter().format(record(**fields)).partition(" ")[2]


TEXT_LINES = {
    "without fields": ({}, "INFO    links moved"),
    "with fields in the order they were given": (
        {"service": "games/rooms", "moved": 3},
        "INFO    links moved service=games/rooms moved=3",
    ),
    "without fields that are None": ({"error": None, "moved": 0}, "INFO    links moved moved=0"),
    "with quotes around a value with blanks": (
        {"error": "no route to host"},
        "INFO    links moved error='no route to host'",
    ),
    "with quotes around an empty value": ({"owner": ""}, "INFO    links moved owner=''"),
    "with what has no plain form": ({"to": {1: 2}}, "INFO    links moved to='{1: 2}'"),
}


@pytest.mark.parametrize("case", TEXT_LINES)
def test_a_line_of_text_is_written(case):
    fields, line = TEXT_LINES[case]
    assert text_line(**fields) == line


def test_a_line_of_text_begins_with_its_time():
    assert datetime.fromisoformat(TextFormatter().format(record()).partition(" ")[0])


def test_a_traceback_follows_its_line():
    logger = logging.getLogger("x")
    try:
        int("broken")
    except ValueError:
        broken = logger.makeRecord(
            "x", logging.ERROR, "x.py", 1, "chore failed", (), sys.exc_info(), extra={"service": "a/b"}
        )
    first, *rest = TextFormatter().format(broken).splitlines()
    assert first.endswith("ERROR   chore failed service=a/b")
    assert rest[0] == "Traceback (most recent call last):"
    assert rest[-1].startswith("ValueError: ")


def test_a_value_with_a_line_break_stays_on_its_line():
    assert len(text_line(error="one\ntwo").splitlines()) == 1


@pytest.fixture
def logged(monkeypatch) -> Iterator[Callable[..., str]]:
    """Set logging up as the command does and call the given function; what it has written to stderr."""
    root, former = logging.getLogger(), {}
    handlers = root.handlers[:]
    for name in (None, "kopf", "aiohttp", "asyncio"):
        former[name] = logging.getLogger(name).level

    def write(form: LogFormat, say: Callable[[], object], level: str = "INFO") -> str:
        root.handlers = []
        monkeypatch.setattr(sys, "stderr", io.StringIO())
        set_up(form, level)
        say()
        return sys.stderr.getvalue()

    yield write
    root.handlers = handlers
    for name, level in former.items():
        logging.getLogger(name).setLevel(level)


def json_line(logged, **fields: object) -> dict[str, object]:
    (line,) = logged(
        LogFormat.JSON, lambda: logging.getLogger("stateful_route").info("links moved", extra=fields)
    ).splitlines()
    return json.loads(line)


def test_a_line_of_json_has_time_level_logger_message_and_the_fields(logged):
    line = json_line(logged, service="games/rooms", moved=3, to={1: 2})
    assert datetime.fromisoformat(line.pop("time"))
    assert line == {
        "level": "INFO",
        "logger": "stateful_route",
        "message": "links moved",
        "service": "games/rooms",
        "moved": 3,
        "to": {"1": 2},
    }


UNSERIALISABLE = {
    "an exception": (ValueError("no"), "no"),
    "a set": ({1}, "{1}"),
    "a path": (Path("/x"), "/x"),
}


@pytest.mark.parametrize("case", UNSERIALISABLE)
@pytest.mark.parametrize("form", LogFormat)
def test_what_json_cannot_hold_is_written_as_text(logged, case, form):
    value, shown = UNSERIALISABLE[case]
    written = logged(form, lambda: logging.getLogger("stateful_route").info("links moved", extra={"it": value}))
    assert "Logging error" not in written
    assert written.endswith(f"it={shown}\n") if form is LogFormat.TEXT else json.loads(written)["it"] == shown


class Unprintable:
    def __str__(self) -> str:
        raise RuntimeError("no text")


LOST = {"a mapping whose keys are no text": {(1, 2): 3}, "an object without text": Unprintable()}


@pytest.mark.parametrize("case", LOST)
def test_a_line_is_written_even_with(logged, case):
    assert json_line(logged, it=LOST[case])["message"] == "links moved"


@pytest.mark.parametrize("form", LogFormat)
def test_a_time_says_its_zone(logged, form):
    written = logged(form, lambda: logging.getLogger("stateful_route").info("x"))
    time = json.loads(written)["time"] if form is LogFormat.JSON else written.partition(" ")[0]
    assert datetime.fromisoformat(time).tzinfo is not None


@pytest.mark.parametrize("form", LogFormat)
def test_an_exception_is_written_with_its_traceback(logged, form):
    def fail() -> None:
        try:
            int("broken")
        except ValueError:
            logging.getLogger("stateful_route").exception("chore failed")

    written = logged(form, fail)
    assert "chore failed" in written
    assert "ValueError: invalid literal" in written
    assert form is LogFormat.TEXT or json.loads(written)["level"] == "ERROR"


@pytest.mark.parametrize(("level", "heard"), [("INFO", False), ("warning", False), ("DEBUG", True)])
def test_kopf_is_heard_below_warning_only_when_everything_is_asked_for(logged, level, heard):
    written = logged(LogFormat.TEXT, lambda: logging.getLogger("kopf.objects").info("handler succeeded"), level)
    assert ("handler succeeded" in written) is heard


def test_a_level_hides_what_is_below_it(logged):
    assert logged(LogFormat.TEXT, lambda: logging.getLogger("stateful_route").info("x"), "WARNING") == ""


@pytest.mark.parametrize("form", LogFormat)
def test_what_kopf_says_of_an_object_is_one_short_line(logged, form):
    body = kopf.Body({"kind": "Pod", "metadata": {"name": "rooms-0", "namespace": "games", "uid": "1"}})
    logger = LocalObjectLogger(body=body, settings=kopf.OperatorSettings())
    written = logged(form, lambda: logger.warning("handler failed"))
    assert "handler failed" in written
    assert "OperatorSettings" not in written


def test_a_request_of_kopf_that_fails_again_and_again_is_told_once():
    seen = Unrepeated()

    def told(name, text):
        return seen.filter(logging.LogRecord(name, logging.ERROR, "", 0, text, None, None))

    refused = "Request attempt #%d failed; will retry: GET http://here/pods?resourceVersion=%d -> 403"
    watching = "kopf._cogs.clients.watching"
    assert [told(watching, refused % (n, n)) for n in range(1, 4)] == [True, False, False]
    assert told(watching, refused.replace("pods", "nodes") % (1, 1))
    assert [told("stateful_route", refused % (1, 1)) for _ in range(2)] == [True, True]
    assert [told("kopf", "something else") for _ in range(2)] == [True, True]
