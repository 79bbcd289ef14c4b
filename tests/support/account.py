"""A kubeconfig that is a ServiceAccount's, and what the API server's audit log says of that account."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from stateful_route.devcluster.kubectl import Kubectl

AUDIT_POLICY = """\
apiVersion: audit.k8s.io/v1
kind: Policy
rules:
  - level: None
    userGroups: ["system:serviceaccounts:kube-system"]
  - level: Metadata
    userGroups: ["system:serviceaccounts"]
    omitStages: [RequestReceived]
  - level: None
"""
"""What ServiceAccounts ask for is logged, when it is begun to be answered and when it is done."""


@dataclass(frozen=True, slots=True)
class Account:
    """A ServiceAccount."""

    namespace: str
    name: str

    @property
    def user(self) -> str:
        return f"system:serviceaccount:{self.namespace}:{self.name}"


def write_kubeconfig(kubectl: Kubectl, account: Account, path: Path) -> Path:
    """A kubeconfig at ``path`` with a token of the account, for as long as a session lasts."""
    body = yaml.safe_load(kubectl("config", "view", "--raw", "--minify", "--flatten", "-o", "yaml"))
    token = kubectl("create", "token", account.name, "-n", account.namespace, "--duration=4h").strip()
    body["users"] = [{"name": account.user, "user": {"token": token}}]
    for context in body["contexts"]:
        context["context"]["user"] = account.user
    path.write_text(yaml.safe_dump(body), encoding="utf-8")
    path.chmod(0o600)
    return path


class Permission(NamedTuple):
    """One verb on one kind of thing; None: in all namespaces, of any name."""

    namespace: str | None
    group: str
    resource: str
    verb: str
    name: str | None

    def allows(self, request: "Request") -> bool:
        return (
            (self.group, self.resource, self.verb) == (request.group, request.resource, request.verb)
            and self.namespace in {None, request.namespace}
            and self.name in {None, request.name}
        )


class Request(NamedTuple):
    """One request of the audit log."""

    namespace: str
    group: str
    resource: str
    verb: str
    name: str
    code: int
    uri: str


def granted(kubectl: Kubectl, account: Account) -> set[Permission]:
    """What the API server's roles grant the account by name; not what they grant to everybody."""
    kinds = "roles,rolebindings,clusterroles,clusterrolebindings"
    items = json.loads(kubectl("get", kinds, "--all-namespaces", "-o", "json"))["items"]
    roles = {_key(body): body["rules"] or [] for body in items if not body["kind"].endswith("Binding")}
    subject = {"kind": "ServiceAccount", "name": account.name, "namespace": account.namespace}
    found: set[Permission] = set()
    for binding in items:
        if binding["kind"].endswith("Binding") and subject in (binding.get("subjects") or ()):
            namespace = binding["metadata"].get("namespace")
            ref = binding["roleRef"]
            for rule in roles[ref["kind"], namespace if ref["kind"] == "Role" else None, ref["name"]]:
                found.update(_permissions(namespace, rule))
    return found


def _key(body: dict[str, Any]) -> tuple[str, str | None, str]:
    return body["kind"], body["metadata"].get("namespace"), body["metadata"]["name"]


def _permissions(namespace: str | None, rule: dict[str, Any]) -> Iterator[Permission]:
    for group in rule.get("apiGroups") or ():
        for resource in rule.get("resources") or ():
            for verb in rule["verbs"]:
                for name in rule.get("resourceNames") or (None,):
                    yield Permission(namespace, group, resource, verb, name)


def requests(folder: Path, account: Account) -> list[Request]:
    """What the account has asked for so far; ``folder``: of the control plane, whose audit log it reads."""
    (log,) = folder.glob("kwok/clusters/*/logs/audit.log")
    found = []
    for line in log.read_text(encoding="utf-8").splitlines():
        event = json.loads(line)
        if event["user"]["username"] != account.user:
            continue
        ref = event.get("objectRef") or {}
        resource = "/".join(filter(None, (ref.get("resource", ""), ref.get("subresource", ""))))
        code = (event.get("responseStatus") or {}).get("code", 0)
        if (event.get("annotations") or {}).get("authorization.k8s.io/decision") == "forbid":
            code = 403
        found.append(
            Request(
                ref.get("namespace", ""),
                ref.get("apiGroup", ""),
                resource,
                event["verb"],
                ref.get("name", ""),
                code,
                event["requestURI"],
            )
        )
    return found


def denied(asked: Iterable[Request]) -> list[str]:
    """What was refused for want of permission, as lines."""
    return sorted({f"{request.verb} {request.uri}" for request in asked if request.code in {401, 403}})


def unused(permissions: Iterable[Permission], asked: Iterable[Request]) -> list[Permission]:
    """What is granted and was never asked for."""
    done = set(asked)
    return sorted((p for p in permissions if not any(p.allows(request) for request in done)), key=str)
