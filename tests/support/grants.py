"""Rights of a ServiceAccount, one by one: what the operator needs by the doctor's list, and all of it but something."""

from collections.abc import Collection
from typing import Any

from stateful_route.cli.inspect.rights import OPERATOR, Right
from stateful_route.kube.client import KubeError
from support.scene import TestKube

RBAC = "/apis/rbac.authorization.k8s.io/v1"
BY_KOPF = (
    *(Right(verb, "", "namespaces", "", everywhere=True) for verb in ("list", "watch")),
    *(
        Right(verb, "apiextensions.k8s.io", "customresourcedefinitions", "", everywhere=True)
        for verb in ("list", "watch")
    ),
)
"""To begin when a namespace or the CRD is made after the operator."""


def rules(rights: Collection[Right]) -> list[dict[str, Any]]:
    return [
        {"apiGroups": [r.group], "resources": [r.resource], "verbs": [r.verb]}
        | ({"resourceNames": [r.name]} if r.name else {})
        for r in rights
    ]


def but(*cut: str) -> list[dict[str, Any]]:
    """The rules of what the operator needs in a namespace, without these: ``list pods``."""
    assert set(cut) <= {str(right) for right in OPERATOR}, "a right that the operator does not need"
    return rules([right for right in OPERATOR if not right.everywhere and str(right) not in cut])


def everywhere_but(*cut: str) -> list[dict[str, Any]]:
    """The same of what has no namespace."""
    wanted = [right for right in (*OPERATOR, *BY_KOPF) if right.everywhere]
    assert set(cut) <= {str(right) for right in wanted}
    return rules([right for right in wanted if str(right) not in cut])


class Account:
    """A ServiceAccount ``default`` with rights in several namespaces; `revoke` takes back what has no namespace."""

    def __init__(self, kube: TestKube, home: str) -> None:
        self.kube, self.home = kube, home

    async def may(self, namespace: str | None, role: list[dict[str, Any]]) -> None:
        """Have it do this in a namespace (None: everywhere), and nothing else there."""
        where = f"{RBAC}/namespaces/{namespace}" if namespace else RBAC
        kind, name = ("Role", "operator") if namespace else ("ClusterRole", f"test:{self.home}")
        plural = f"{kind.lower()}s"
        try:
            await self.kube.merge(f"{where}/{plural}/{name}", {"rules": role})
        except KubeError as error:
            if not error.not_found:
                raise
            await self.kube.create(f"{where}/{plural}", {"metadata": {"name": name}, "rules": role})
            ref = {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name}
            subject = {"kind": "ServiceAccount", "name": "default", "namespace": self.home}
            body = {"metadata": {"name": name}, "roleRef": ref, "subjects": [subject]}
            await self.kube.create(f"{where}/{kind.lower()}bindings", body)

    async def revoke(self) -> None:
        for plural in ("clusterroles", "clusterrolebindings"):
            await self.kube.delete(f"{RBAC}/{plural}/test:{self.home}")
