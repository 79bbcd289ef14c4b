"""Label selectors: what a workload's own selector says of a pod's labels."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

_REQUIREMENT = re.compile(
    r"\s*(?:(?P<absent>!)\s*)?(?P<key>[\w./-]+)\s*"
    r"(?:(?P<sign>==|=|!=)\s*(?P<value>[\w.-]*)|(?P<word>in|notin)\s*\((?P<values>[\w.,\s-]*)\))?\s*(?:,|$)"
)


@dataclass(frozen=True, slots=True, order=True)
class Requirement:
    """One condition on one label.

    Attributes:
        key: The label.
        operator: ``In``, ``NotIn``, ``Exists`` or ``DoesNotExist``, as in a ``metav1.LabelSelector``.
        values: Of ``In`` and ``NotIn``, sorted; empty for the others.
    """

    key: str
    operator: str
    values: tuple[str, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether the labels fulfil it; an absent label is not in any values."""
        match self.operator:
            case "In":
                return self.key in labels and labels[self.key] in self.values
            case "NotIn":
                return self.key not in labels or labels[self.key] not in self.values
            case "Exists":
                return self.key in labels
            case "DoesNotExist":
                return self.key not in labels
        return False

    def __str__(self) -> str:
        match self.operator:
            case "In" if len(self.values) == 1:
                return f"{self.key}={self.values[0]}"
            case "In" | "NotIn":
                return f"{self.key} {self.operator.lower()} ({','.join(self.values)})"
            case "DoesNotExist":
                return f"!{self.key}"
        return self.key


@dataclass(frozen=True, slots=True)
class Selector:
    """All conditions of a selector; one without any selects everything."""

    requirements: tuple[Requirement, ...] = ()

    @classmethod
    def from_body(cls, body: Mapping[str, Any] | None) -> Self:
        """The selector in a ``metav1.LabelSelector``; None: one that selects everything."""
        body = body or {}
        equal = [Requirement(key, "In", (value,)) for key, value in (body.get("matchLabels") or {}).items()]
        others = [
            Requirement(one["key"], one["operator"], tuple(sorted(one.get("values") or ())))
            for one in body.get("matchExpressions") or ()
        ]
        return cls(tuple(sorted([*equal, *others])))

    @classmethod
    def parse(cls, text: str) -> Self:
        """The selector in the text form of the API (``app=rooms,tier in (a,b),!old``), as a scale subresource has it.

        Raises:
            ValueError: it cannot be understood.
        """
        found, at = [], 0
        while at < len(text.rstrip()):
            part = _REQUIREMENT.match(text, at)
            if part is None:
                raise ValueError(f"the selector {text!r} cannot be understood")
            found.append(_requirement(part))
            at = part.end()
        return cls(tuple(sorted(found)))

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether the labels fulfil all of it."""
        return all(requirement.matches(labels) for requirement in self.requirements)

    def query(self, also: Iterable[str] = ()) -> str:
        """The text form, for a LIST; ``also``: further conditions in that form."""
        return ",".join([*also, *map(str, self.requirements)])


def _requirement(part: re.Match[str]) -> Requirement:
    key = part["key"]
    if part["sign"]:
        return Requirement(key, "NotIn" if part["sign"] == "!=" else "In", (part["value"],))
    if part["word"]:
        values = tuple(sorted(value.strip() for value in part["values"].split(",")))
        return Requirement(key, "In" if part["word"] == "in" else "NotIn", values)
    return Requirement(key, "DoesNotExist" if part["absent"] else "Exists")
