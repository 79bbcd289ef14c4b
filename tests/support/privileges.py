"""Least privilege, held against the whole session: what operators asked for by the API servers' audit logs.

Each worker has control planes of its own, so each tells what it has seen; who started the workers judges all of it.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest

from stateful_route.devcluster import ControlPlane
from support.account import Account, Permission
from support.audit import Request, audit_requests, is_audited, stamp
from support.helm import REPO

NAME: Final = "privileges"
TESTS: Final = REPO / "tests"
NEEDED: Final = (*sorted((TESTS / "cluster").rglob("test_*.py")), *sorted((TESTS / "chart").rglob("test_*.py")))
"""All that start an operator on an API server; only when all of these have run every right must have been used."""

KOPF: Final = "kopf/"
"""How the operator's framework calls itself."""


@dataclass(frozen=True, slots=True)
class Enrolled:
    """An account of the chart, and what it may do.

    Attributes:
        account: One that belongs to this test alone.
        rights: What the chart grants it.
        test: Which asks as this account.
        lacks: Resources whose rights the test has left out on purpose: that they are denied is what it tests.
    """

    account: Account
    rights: frozenset[Permission]
    test: str
    lacks: frozenset[str] = frozenset()

    def right(self, permission: Permission) -> str:
        """A right of the chart, in words that are the same for all releases that are installed alike."""
        everywhere = any(right[:3] == (None, "statefulroute.io", "statefulroutes") for right in self.rights)
        mode = "in all namespaces" if everywhere else "in some namespaces"
        role = "ClusterRole" if permission.namespace is None else "Role"
        resource = f"{permission.resource}.{permission.group}" if permission.group else permission.resource
        own = permission.name == self.account.namespace
        name = " of its own" if own else f" {permission.name!r}" if permission.name else ""
        return f"{self.account.name} {mode}, {role}: {permission.verb} {resource}{name}"


@dataclass
class Findings:
    """What one process has seen; as a dictionary of plain values it can be sent to another.

    Attributes:
        operators: How many accounts there were.
        requests: How many requests they made.
        by_kopf: How many of them by the operator's framework.
        granted: Rights of the chart, see `Enrolled.right`.
        used: Those of them that served.
        denied: Requests that were refused, each with its test.
        premature: Requests that an API server refused which had just been started, and knew no roles yet.
        strangers: Requests of operators that ran as somebody else.
        idle_excuses: What a test said that it leaves out, and nobody asked for.
        unaudited: Control planes that write no audit log.
        whole: Whether every test that starts an operator was to run.
    """

    operators: int = 0
    requests: int = 0
    by_kopf: int = 0
    granted: set[str] = field(default_factory=set)
    used: set[str] = field(default_factory=set)
    denied: set[str] = field(default_factory=set)
    premature: set[str] = field(default_factory=set)
    strangers: set[str] = field(default_factory=set)
    idle_excuses: set[str] = field(default_factory=set)
    unaudited: set[str] = field(default_factory=set)
    whole: bool = False

    def as_dict(self) -> dict[str, Any]:
        return {name: sorted(value) if isinstance(value, set) else value for name, value in vars(self).items()}

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> "Findings":
        return cls(**{name: set(value) if isinstance(value, list) else value for name, value in values.items()})


Span = tuple[str, str]
"""From when to when, as `stamp`."""


def examined(accounts: Collection[Enrolled], asked: Iterable[Request], starts: Collection[Span] = ()) -> Findings:
    """What these accounts have asked for, and what operators have asked for as somebody else.

    ``starts``: when an API server was started and not yet ready: it answers, and refuses what it will grant.
    """
    by_user = {each.account.user: each for each in accounts}
    found = Findings(operators=len(by_user))
    seen: dict[str, set[Request]] = {user: set() for user in by_user}
    for request in asked:
        if request.user in seen:
            found.requests += 1
            found.by_kopf += request.agent.startswith(KOPF)
            seen[request.user].add(request)
        elif request.agent.startswith(KOPF):
            found.strangers.add(f"{request.user or 'nobody'}: {request}")
    for user, enrolled in by_user.items():
        refused = [request for request in seen[user] if request.denied]
        premature = {r for r in refused if any(began <= r.denied <= ended for began, ended in starts)}
        found.premature |= {f"{enrolled.test}: {r}" for r in premature}
        found.denied |= {
            f"{enrolled.test}: {r}" for r in refused if r.resource not in enrolled.lacks and r not in premature
        }
        idle = enrolled.lacks - {request.resource for request in refused}
        found.idle_excuses |= {f"{enrolled.test}: {resource}" for resource in idle}
        for right in enrolled.rights:
            found.granted.add(words := enrolled.right(right))
            if words not in found.used and any(right.allows(request) for request in seen[user]):
                found.used.add(words)
    return found


def union(all_findings: Sequence[Findings]) -> Findings:
    """What several processes have seen."""
    total = Findings(whole=bool(all_findings) and all(each.whole for each in all_findings))
    for each in all_findings:
        total.operators += each.operators
        total.requests += each.requests
        total.by_kopf += each.by_kopf
        for name, value in vars(each).items():
            if isinstance(value, set):
                getattr(total, name).update(value)
    return total


def complaints(found: Findings) -> list[str]:
    """What is wrong, as lines with the way out; of a part of the tests nothing is said that only all can tell."""
    lines = [
        f"DENIED   {each}; grant it in the chart's templates/rbac.yaml, or do not ask" for each in sorted(found.denied)
    ]
    lines += [
        f"STRANGER {each}; start operators with the kubeconfig of an account of the chart"
        for each in sorted(found.strangers)
    ]
    lines += [
        f"EXCUSED  {each}; nothing of it was denied, so take it out of `lacks`" for each in sorted(found.idle_excuses)
    ]
    if found.whole and not found.unaudited:
        lines += [
            f"UNUSED   {each}; take it out of the chart's templates/rbac.yaml, or test what needs it"
            for each in sorted(found.granted - found.used)
        ]
        if not found.requests:
            lines.append("NOTHING  was asked by any operator: its tests do not tell of their accounts")
        elif not found.by_kopf:
            lines.append(f"NOTHING  came from {KOPF}: operators that run as somebody else would not be found")
    return lines


def summary(found: Findings) -> str:
    """What was examined, in a line."""
    if found.unaudited:
        return f"not examined, for want of an audit log: {', '.join(sorted(found.unaudited))}"
    all_of = f"{len(found.used)} of {len(found.granted)} rights of the chart were used"
    which = all_of if found.whole else f"{all_of}, of which nothing follows: not all tests have run, and passed"
    refused = f"{len(found.denied)} denied" if found.denied else "none denied"
    if found.premature:
        refused += f" but {len(found.premature)} by an API server that had just been started"
    return f"{found.operators} accounts made {found.requests} different requests, {refused}; {which}"


class Privileges:
    """The pytest plugin: fixtures tell it of accounts and control planes; a session that it complains of fails."""

    def __init__(self, config: pytest.Config, needed: Collection[Path] = NEEDED) -> None:
        """``needed``: the files whose tests must all have run before a right may be called unused."""
        self._config = config
        self._needed = needed
        self._accounts: list[Enrolled] = []
        self._requests: set[Request] = set()
        self._starts: list[Span] = []
        self._unaudited: set[str] = set()
        self._chosen = False
        self._whole = False
        self._told: list[Findings] = []
        """By workers that have ended."""
        self._lost = False
        """A worker has ended without a word."""
        self._verdict: list[str] = []

    def enroll(self, enrolled: Enrolled) -> None:
        """This account is an operator's, or that of another process of the chart."""
        self._accounts.append(enrolled)

    @contextmanager
    def api_server_starts(self) -> Iterator[None]:
        """Meanwhile an API server is started, until it is ready."""
        began = stamp()
        yield
        self._starts.append((began, stamp()))

    def read(self, control_plane: ControlPlane) -> None:
        """Read the audit log of a control plane that is about to be stopped."""
        if is_audited(control_plane.folder):
            self.hear(audit_requests(control_plane.folder))
        else:
            self._unaudited.add(str(control_plane.source))

    def hear(self, asked: Iterable[Request]) -> None:
        """Take in what was asked for."""
        self._requests.update(asked)

    def findings(self) -> Findings:
        """What this process has seen."""
        found = examined(self._accounts, self._requests, self._starts)
        found.unaudited |= self._unaudited
        found.whole = self._whole
        return found

    def pytest_deselected(self, items: Sequence[pytest.Item]) -> None:
        self._chosen = self._chosen or not {item.path for item in items}.isdisjoint(self._needed)

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        chosen = self._chosen or any("::" in argument for argument in session.config.args)
        self._whole = not chosen and {item.path for item in session.items}.issuperset(self._needed)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        told = getattr(node, "workeroutput", {}).get(NAME)
        if told is None:
            self._lost = True
        else:
            self._told.append(Findings.of(told))

    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        output = getattr(self._config, "workeroutput", None)
        if output is not None:
            output[NAME] = self.findings().as_dict()
            return
        found = union(self._told) if self._told or self._lost else self.findings()
        if exitstatus != pytest.ExitCode.OK or self._lost:
            found.whole = False  # a test that failed may not have come to its request
        wrong = complaints(found)
        if wrong and exitstatus in {pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED}:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
        if found.operators or wrong:
            self._verdict = [*wrong, summary(found)]

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_terminal_summary(self, terminalreporter: Any) -> Iterator[None]:
        """Say it below the list of tests that were skipped: where a log is cut, its end is kept."""
        yield
        if self._verdict:
            failed = len(self._verdict) > 1
            terminalreporter.section("rights of the operator", red=failed, green=not failed)
            for line in self._verdict:
                terminalreporter.write_line(line)
