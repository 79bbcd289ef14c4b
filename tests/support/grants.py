"""Rights that an administrator takes away from the operator, one by one, and gives back."""

from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any

from support.rights import RBAC, RELEASE
from support.scene import Scene, TestKube

Rule = Mapping[str, Any]


def single(rules: list[Rule]) -> Iterator[tuple[str, Rule]]:
    """Each right of some rules, named as the doctor does (``get nodes``), and the rule of it alone."""
    for rule in rules:
        names = rule.get("resourceNames") or [None]
        for verb, group, resource, name in product(rule["verbs"], rule["apiGroups"], rule["resources"], names):
            words = f"{verb} {resource}{f'.{group}' if group else ''}{f' {name!r}' if name else ''}"
            alone = {"verbs": [verb], "apiGroups": [group], "resources": [resource]}
            yield words, alone | ({"resourceNames": [name]} if name else {})


class Grant:
    """What the chart grants the operator of a scene: in its namespace, in one beside it, or everywhere."""

    def __init__(self, kube: TestKube, path: str, rules: list[Rule]) -> None:
        self._kube, self._path, self._rules = kube, path, rules

    @classmethod
    async def inside(cls, scene: Scene) -> "Grant":
        """The Role in the scene's namespace."""
        assert scene.access is not None
        return await cls._of(scene, f"{RBAC}/namespaces/{scene.namespace}/roles")

    @classmethod
    async def everywhere(cls, scene: Scene) -> "Grant":
        """The ClusterRole of the scene's operator."""
        return await cls._of(scene, f"{RBAC}/clusterroles")

    @classmethod
    async def _of(cls, scene: Scene, folder: str) -> "Grant":
        assert scene.access is not None
        path = f"{folder}/{scene.access.account.namespace}:{RELEASE}"
        return cls(scene.kube, path, (await scene.kube.get(path))["rules"])

    async def cut(self, *rights: str) -> None:
        """All but these, whatever was cut before."""
        named = list(single(self._rules))
        assert set(rights) <= {words for words, _ in named}, "a right that the chart does not grant"
        await self._kube.merge(self._path, {"rules": [rule for words, rule in named if words not in rights]})

    async def restore(self) -> None:
        """All."""
        await self._kube.merge(self._path, {"rules": self._rules})
