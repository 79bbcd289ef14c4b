"""A ServiceAccount: its kubeconfig, what roles grant it, and what of that it has used."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from stateful_route.devcluster.kubectl import Kubectl
from support.audit import Request, audit_requests

TOKEN_SECONDS = 4 * 3600
"""As long as a session lasts."""


@dataclass(frozen=True, slots=True)
class Account:
    """A ServiceAccount."""

    namespace: str
    name: str

    @property
    def user(self) -> str:
        return f"system:serviceaccount:{self.namespace}:{self.name}"


def write_kubeconfig(kubectl: Kubectl, account: Account, path: Path) -> Path:
    """A kubeconfig at ``path`` with a token of the account."""
    duration = f"--duration={TOKEN_SECONDS}s"
    token = kubectl("create", "token", account.name, "-n", account.namespace, duration).strip()
    return write_as_bearer(access(kubectl), account, token, path)


def access(kubectl: Kubectl) -> dict[str, Any]:
    """The kubeconfig that kubectl goes by, of one user, with all that it refers to inside."""
    return dict(yaml.safe_load(kubectl("config", "view", "--raw", "--minify", "--flatten", "-o", "yaml")))


def write_as_bearer(kubeconfig: Mapping[str, Any], account: Account, token: str, path: Path) -> Path:
    """The same access as in a kubeconfig of one user, at ``path``, for who has the account's token."""
    users = [{"name": account.user, "user": {"token": token}}]
    contexts = [{**each, "context": {**each["context"], "user": account.user}} for each in kubeconfig["contexts"]]
    # JSON is YAML, and written in no time.
    path.write_text(json.dumps({**kubeconfig, "users": users, "contexts": contexts}), encoding="utf-8")
    path.chmod(0o600)
    return path


class Permission(NamedTuple):
    """One verb on one kind of thing; None: in all namespaces, of any name."""

    namespace: str | None
    group: str
    resource: str
    verb: str
    name: str | None

    def allows(self, request: Request) -> bool:
        return (
            (self.group, self.resource, self.verb) == (request.group, request.resource, request.verb)
            and self.namespace in {None, request.namespace}
            and self.name in {None, request.name}
        )


def granted(kubectl: Kubectl, account: Account) -> set[Permission]:
    """What the API server's roles grant the account by name; not what they grant to everybody."""
    kinds = "roles,rolebindings,clusterroles,clusterrolebindings"
    return permissions(json.loads(kubectl("get", kinds, "--all-namespaces", "-o", "json"))["items"], account)


def permissions(objects: Iterable[Mapping[str, Any]], account: Account) -> set[Permission]:
    """What roles and bindings grant the account by name; objects of other kinds may be among them."""
    bodies = list(objects)
    roles = {_key(body): body["rules"] or [] for body in bodies if body["kind"] in {"Role", "ClusterRole"}}
    subject = {"kind": "ServiceAccount", "name": account.name, "namespace": account.namespace}
    found: set[Permission] = set()
    for binding in bodies:
        if binding["kind"].endswith("Binding") and subject in (binding.get("subjects") or ()):
            namespace = binding["metadata"].get("namespace")
            ref = binding["roleRef"]
            for rule in roles[ref["kind"], namespace if ref["kind"] == "Role" else None, ref["name"]]:
                found.update(_permissions(namespace, rule))
    return found


def _key(body: Mapping[str, Any]) -> tuple[str, str | None, str]:
    return body["kind"], body["metadata"].get("namespace"), body["metadata"]["name"]


def _permissions(namespace: str | None, rule: Mapping[str, Any]) -> Iterator[Permission]:
    for group in rule.get("apiGroups") or ():
        for resource in rule.get("resources") or ():
            for verb in rule["verbs"]:
                for name in rule.get("resourceNames") or (None,):
                    yield Permission(namespace, group, resource, verb, name)


def requests(folder: Path, account: Account) -> list[Request]:
    """What the account has asked for so far; ``folder``: of the control plane, whose audit log it reads."""
    return [request for request in audit_requests(folder) if request.user == account.user]


def unused(rights: Iterable[Permission], asked: Iterable[Request]) -> list[Permission]:
    """What is granted and was never asked for."""
    done = set(asked)
    return sorted((p for p in rights if not any(p.allows(request) for request in done)), key=str)
