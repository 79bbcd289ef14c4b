"""What is wrong with an installation, and what to do about it: findings, and how the store's servers are judged."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """How bad it is; each word is worse than the one before."""

    OK = "ok"
    UNKNOWN = "unknown"
    """It could not be looked at: a permission is missing, or what would know does not answer."""
    WARNING = "warning"
    """It works now, and will not some day."""
    ERROR = "error"
    """Users are, or may be, routed wrongly or not at all."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        severity: How bad it is.
        check: What was looked at, a fixed word.
        subject: At which object: a server, a service, a pod; empty: there is one only.
        message: What was found.
        advice: What to do about it; empty: nothing.
    """

    severity: Severity
    check: str
    subject: str
    message: str
    advice: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerFacts:
    """What a Redis or Valkey server says of itself; None: it does not say, or we may not ask.

    Attributes:
        name: ``host:port``, or the URL without its password.
        version: As it is shown.
        replica: It follows another server.
        saves: It writes snapshots by itself (``save``).
        appends: It keeps an append-only file.
        write_failed: Its last snapshot or its append-only file could not be written.
        memory_limit: Bytes (``maxmemory``); 0: there is none.
        memory_used: Bytes.
        policy: ``maxmemory-policy``.
        replicas: How many follow it.
        replicas_to_write: ``min-replicas-to-write``.
        skew_seconds: Its clock minus this machine's; None: what answers TIME is no clock, or may not be asked.
        skew_error_seconds: How far off that may be: half of the round trip.
    """

    name: str
    version: str = "?"
    replica: bool = False
    saves: bool | None = None
    appends: bool | None = None
    write_failed: bool = False
    memory_limit: int | None = 0
    memory_used: int | None = 0
    policy: str | None = None
    replicas: int = 0
    replicas_to_write: int | None = None
    skew_seconds: float | None = 0.0
    skew_error_seconds: float = 0.0


FULL = 0.9
"""Of ``maxmemory``: a server that is so full refuses writes, or evicts, before long."""

SKEW_WARNING_SECONDS = 1.0
"""Kubernetes tells times to the second; a state's expiry and a drain's deadline are wrong by as much."""

SKEW_ERROR_SECONDS = 5.0
"""A failover to another server may take so long: what then reads an older clock might give out old epochs."""

NO_EVICTION = "noeviction"


def judge_server(server: ServerFacts) -> Iterator[Finding]:
    """Persistence, memory and replication of one server."""
    yield _persistence(server)
    yield _memory(server)
    if server.replicas and server.replicas_to_write == 0:
        yield Finding(
            Severity.WARNING,
            "Redis replication",
            server.name,
            f"{server.replicas} replicas, and min-replicas-to-write is 0: a failover loses acknowledged writes",
            "set min-replicas-to-write 1 and a small min-replicas-max-lag",
        )


def judge_clocks(servers: Sequence[ServerFacts]) -> Iterator[Finding]:
    """This machine's clock against each server's, and the servers' against each other."""
    skews: list[tuple[float, ServerFacts]] = []
    for server in servers:
        skew = server.skew_seconds
        if skew is None:
            yield Finding(
                Severity.WARNING,
                "clock",
                server.name,
                "what answers TIME is no clock, or may not be asked for it",
                "connect an operator with more than one replica to the server itself, not to a proxy",
            )
            continue
        skews.append((skew, server))
        apart = max(0.0, abs(skew) - server.skew_error_seconds)
        word = "ahead of" if skew > 0 else "behind"
        message = f"{abs(skew):.3f} s {word} this machine (±{server.skew_error_seconds:.3f} s)"
        bad = apart > SKEW_WARNING_SECONDS
        yield Finding(
            Severity.WARNING if bad else Severity.OK,
            "clock",
            server.name,
            message,
            "synchronise the clocks (NTP); if this machine is no part of the cluster, its own may be the wrong one"
            if bad
            else "",
        )
    if len(skews) < 2:  # noqa: PLR2004  one has nobody to differ from
        return
    skews.sort(key=lambda pair: pair[0])
    (lowest, first), (highest, last) = skews[0], skews[-1]
    spread = highest - lowest
    apart = max(0.0, spread - first.skew_error_seconds - last.skew_error_seconds)
    severity = Severity.OK
    if apart > SKEW_WARNING_SECONDS:
        severity = Severity.ERROR if apart > SKEW_ERROR_SECONDS else Severity.WARNING
    yield Finding(
        severity,
        "clocks of the servers",
        "",
        f"{spread:.3f} s between {first.name} and {last.name}",
        "" if severity is Severity.OK else "synchronise them (NTP): epochs rise only while a failover takes longer",
    )


def worst(findings: Iterable[Finding]) -> Severity:
    """The worst severity of them; OK for none."""
    order = list(Severity)
    return max((finding.severity for finding in findings), key=order.index, default=Severity.OK)


def _persistence(server: ServerFacts) -> Finding:
    check = "Redis persistence"
    if server.write_failed:
        return Finding(
            Severity.ERROR,
            check,
            server.name,
            "it could not write its last snapshot or its append-only file",
            "look at the server's log and disk: what it has acknowledged is in memory only",
        )
    if server.appends:
        return Finding(Severity.OK, check, server.name, "append-only file")
    if server.saves:
        return Finding(
            Severity.WARNING,
            check,
            server.name,
            "snapshots only: a restart brings links back as they were minutes ago",
            "appendonly yes, with appendfsync everysec",
        )
    if server.saves is None or server.appends is None:
        return Finding(Severity.UNKNOWN, check, server.name, "the server does not say (CONFIG GET is not allowed)")
    if server.replicas:
        return Finding(
            Severity.ERROR,
            check,
            server.name,
            f"none, and {server.replicas} replicas: a primary that restarts empty empties them, too",
            "appendonly yes, or no automatic restart of the primary",
        )
    return Finding(
        Severity.WARNING,
        check,
        server.name,
        "none: a restart loses every link, and users are placed anew by their next call",
        "appendonly yes, unless your users' state may be lost with the store",
    )


def _memory(server: ServerFacts) -> Finding:
    check, limit, policy = "Redis memory", server.memory_limit, server.policy
    if limit is None or server.memory_used is None:
        return Finding(Severity.UNKNOWN, check, server.name, "the server does not say (INFO is not allowed)")
    used = f"{server.memory_used / 2**20:,.0f} MiB used"
    if limit and policy not in {None, NO_EVICTION}:
        volatile = str(policy).startswith("volatile-")
        return Finding(
            Severity.WARNING if volatile else Severity.ERROR,
            check,
            server.name,
            f"maxmemory-policy {policy} drops {'temporary links' if volatile else 'links'} without a word when full",
            f"maxmemory-policy {NO_EVICTION}, and memory enough",
        )
    if limit and server.memory_used > FULL * limit:
        return Finding(
            Severity.WARNING,
            check,
            server.name,
            f"{used} of {limit / 2**20:,.0f} MiB: writes will be refused soon",
            "raise maxmemory, or move to a Cluster; about 250 B a link",
        )
    return Finding(
        Severity.OK, check, server.name, f"{used}, {f'limit {limit / 2**20:,.0f} MiB' if limit else 'no limit'}"
    )
