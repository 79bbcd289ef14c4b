"""The API server's audit log: who asked for what, and what was refused."""

import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any, NamedTuple

AUDIT_POLICY = """\
apiVersion: audit.k8s.io/v1
kind: Policy
rules:
  - level: None
    userGroups: ["system:serviceaccounts:kube-system"]
  - level: Metadata
    userGroups: ["system:serviceaccounts"]
    omitStages: [RequestReceived]
  - level: Metadata
    verbs: [watch]
    resources:
      - group: statefulroute.io
    omitStages: [RequestReceived, ResponseStarted]
  - level: None
"""
"""What ServiceAccounts ask for is logged when it is begun to be answered and when it is done; of all others who watches
StatefulRoutes: an operator does, whoever it is."""


class Request(NamedTuple):
    """One request of the audit log.

    Attributes:
        user: Who asked; empty: nobody that the API server knows.
        namespace: Empty: in none, or in all.
        group: The API group; empty: the core, or no resource at all.
        resource: In the plural; a subresource after a slash. Empty: no resource, as ``/apis``.
        verb: As in a Role.
        name: Of the object; empty: of any, or of one that is created.
        denied: When it was refused for want of permission, by the API server's clock, as `stamp`; empty: it was not.
        uri: The path and the query.
        agent: The client's program.
    """

    user: str
    namespace: str
    group: str
    resource: str
    verb: str
    name: str
    denied: str
    uri: str
    agent: str

    def __str__(self) -> str:
        return f"{self.verb} {self.uri}"


def audit_requests(folder: Path) -> Iterator[Request]:
    """What was asked so far; ``folder``: of the control plane. Nothing where it writes no audit log."""
    for log in sorted(folder.glob("kwok/clusters/*/logs/audit*.log")):  # it is rotated, too
        with log.open(encoding="utf-8") as lines:
            yield from map(audit_request, lines)


def is_audited(folder: Path) -> bool:
    """Whether the control plane of that folder writes an audit log."""
    return any(folder.glob("kwok/clusters/*/logs/audit.log"))


def audit_request(line: str) -> Request:
    """What a line of the log tells of."""
    event = json.loads(line)
    ref: Mapping[str, Any] = event.get("objectRef") or {}
    decision = (event.get("annotations") or {}).get("authorization.k8s.io/decision")
    code = (event.get("responseStatus") or {}).get("code", 0)
    # Admission refuses with 403, too, for example what is made in a namespace that ends: no right would help.
    is_denied = decision == "forbid" or code == HTTPStatus.UNAUTHORIZED
    return Request(
        user=(event.get("user") or {}).get("username", ""),
        namespace=ref.get("namespace", ""),
        group=ref.get("apiGroup", ""),
        resource="/".join(filter(None, (ref.get("resource", ""), ref.get("subresource", "")))),
        verb=event["verb"],
        name=ref.get("name", ""),
        denied=event["requestReceivedTimestamp"] if is_denied else "",
        uri=event["requestURI"],
        agent=event.get("userAgent", ""),
    )


def stamp() -> str:
    """Now, as the audit log writes it: such texts can be compared."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def denied(asked: Iterable[Request]) -> list[str]:
    """What was refused for want of permission, as lines."""
    return sorted({str(request) for request in asked if request.denied})
