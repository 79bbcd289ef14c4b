"""Which of several releases of the operator in one cluster serves a namespace: one, and it stays that one.

Each writes its name on every StatefulRoute that it serves, before anything else, and renews it on the oldest one of
the namespace. Others leave the namespace alone while they see it renewed. As with a Lease no clocks are compared: who
waits counts from when they themselves have seen a change.
"""

from collections.abc import Iterable
from dataclasses import dataclass

Age = tuple[float, str]
"""When a StatefulRoute was made, and its uid: of two that were made in one second one is the older all the same."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What stands on a StatefulRoute.

    Attributes:
        age: Of the StatefulRoute.
        operator: The release that serves it; empty: none says so.
        alive: It has been renewed in this namespace not long ago, as far as the observer has seen.
    """

    age: Age
    operator: str = ""
    alive: bool = False


def holder(claims: Iterable[Claim], me: str) -> str:
    """The release that serves the namespace with these claims; empty: nobody does, and ``me`` may.

    Where there are several, that on the oldest StatefulRoute counts. A claim of ``me`` needs no renewal: it is that of
    an earlier process of the same release.
    """
    living = (claim for claim in claims if claim.operator and (claim.operator == me or claim.alive))
    return min(living, key=lambda claim: claim.age, default=Claim((0.0, ""))).operator


def still_held(claim: Claim, me: str) -> bool:
    """True while another release serves this very StatefulRoute, although the namespace is no longer its own."""
    return claim.operator not in {"", me} and claim.alive
