"""The chart's ServiceAccount and its rights without the operator, for tests that start operators by themselves."""

import asyncio
import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from stateful_route.devcluster.kubectl import Kubectl
from stateful_route.kube.client import Kube, KubeError
from support.account import TOKEN_SECONDS, Account, access, permissions, write_as_bearer
from support.helm import REPO, Helm, Values, parsed
from support.privileges import Enrolled, Privileges
from support.waiting import eventually

RELEASE = "stateful-route"
ONLY = tuple(f"--show-only=templates/{name}.yaml" for name in ("serviceaccount", "rbac"))
FIRST = "release-of-the-test"
"""A namespace to be replaced in what is rendered."""

RBAC = "/apis/rbac.authorization.k8s.io/v1"

INSTALL = (REPO / "docs" / "how-to" / "install.md").read_text(encoding="utf-8")
(SECRET_ROLE,) = re.findall(r"^```yaml\n(apiVersion: rbac.*?)^```$", INSTALL, re.MULTILINE | re.DOTALL)
"""What the how-to page has the owners of a namespace bind, so that the operator may read a Secret."""


@dataclass(frozen=True)
class Access:
    """What an operator is started with: an account that may do what the chart lets it, and its kubeconfig."""

    account: Account
    kubeconfig: Path


class ChartRights:
    """Grants what an installation of the chart would grant, in some milliseconds: the chart is rendered once."""

    def __init__(self, helm: Helm, kubectl: Kubectl, privileges: Privileges, folder: Path) -> None:
        """For the control plane of ``kubectl``; kubeconfigs are written to ``folder``."""
        self._helm, self._privileges, self._folder = helm, privileges, folder
        self._administrator = access(kubectl)
        self._rendered: dict[str, str] = {}

    async def grant(
        self,
        kube: Kube,
        namespaces: Sequence[str],
        test: str,
        *,
        values: Values | None = None,
        lacks: Collection[str] = (),
    ) -> Access:
        """As if the chart were installed in the first of these namespaces, to watch all of them.

        Can be repeated with more namespaces.

        Args:
            kube: The administrator.
            namespaces: They exist.
            test: Whose account it is.
            values: Further values of the chart.
            lacks: Resources that the test leaves out on purpose: requests for them are denied, and only these.
        """
        account = Account(namespaces[0], RELEASE)
        objects = self._objects(namespaces, values or {})
        await asyncio.gather(*(make(kube, body) for body in objects))
        asked = {"spec": {"expirationSeconds": TOKEN_SECONDS}}
        where = f"/api/v1/namespaces/{account.namespace}/serviceaccounts/{account.name}/token"
        token = (await kube.create(where, asked))["status"]["token"]
        path = write_as_bearer(self._administrator, account, token, self._folder / f"{account.namespace}.kubeconfig")
        self._privileges.enroll(Enrolled(account, frozenset(permissions(objects, account)), test, frozenset(lacks)))
        return Access(account, path)

    async def revoke(self, kube: Kube, access: Access) -> None:
        """Delete what the end of the account's namespace leaves."""
        name = f"{access.account.namespace}:{RELEASE}"
        await asyncio.gather(
            *(kube.delete(f"{RBAC}/{kind}/{name}") for kind in ("clusterroles", "clusterrolebindings"))
        )

    def _objects(self, namespaces: Sequence[str], values: Values) -> list[dict[str, Any]]:
        key = json.dumps([len(namespaces), values], sort_keys=True)
        names = [FIRST, *(f"watched-by-the-test-{n}" for n in range(1, len(namespaces)))]
        if key not in self._rendered:
            everything = {"watchNamespaces": names, **values}
            text = self._helm.template(everything, *ONLY, namespace=FIRST, release=RELEASE)
            self._rendered[key] = json.dumps(list(parsed(text)))
        text = self._rendered[key].replace(FIRST, namespaces[0])
        for name, namespace in zip(names, namespaces, strict=True):
            text = text.replace(name, namespace)
        return list(json.loads(text))


async def make(kube: Kube, body: Mapping[str, Any]) -> None:
    """Create an object of RBAC, or a ServiceAccount; one that is there already stays."""
    namespace = body["metadata"].get("namespace")
    group = "/api/v1" if body["apiVersion"] == "v1" else f"/apis/{body['apiVersion']}"
    where = f"{group}/namespaces/{namespace}" if namespace else group
    try:
        await kube.create(f"{where}/{body['kind'].lower()}s", body)
    except KubeError as error:
        if not error.conflict:
            raise


async def allow(kube: Kube, account: Account, namespace: str, name: str, rule: Mapping[str, Any]) -> None:
    """Bind a Role with one rule to the account."""
    meta = {"name": name, "namespace": namespace}
    subject = {"kind": "ServiceAccount", "name": account.name, "namespace": account.namespace}
    api = "rbac.authorization.k8s.io"
    await make(kube, {"apiVersion": f"{api}/v1", "kind": "Role", "metadata": meta, "rules": [rule]})
    ref = {"apiGroup": api, "kind": "Role", "name": name}
    binding = {
        "apiVersion": f"{api}/v1",
        "kind": "RoleBinding",
        "metadata": meta,
        "roleRef": ref,
        "subjects": [subject],
    }
    await make(kube, binding)


async def allow_secret(kube: Kube, account: Account, namespace: str, secret: str) -> None:
    """Let the account read a Secret by what the how-to page says; until the API server has taken it in."""
    text = SECRET_ROLE.replace("namespace: games", f"namespace: {namespace}")
    text = text.replace("namespace: stateful-route", f"namespace: {account.namespace}").replace("rooms-store", secret)
    for body in yaml.safe_load_all(text.replace("stateful-route-secrets", f"secret-{secret}")):
        await make(kube, body)
    attributes = {"verb": "get", "resource": "secrets", "namespace": namespace, "name": secret}
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {"user": account.user, "resourceAttributes": attributes},
    }

    async def allowed() -> bool:
        answer = await kube.create("/apis/authorization.k8s.io/v1/subjectaccessreviews", review)
        return bool(answer["status"].get("allowed"))

    await eventually(allowed, bool, f"{account.user} may read Secret {secret}")
