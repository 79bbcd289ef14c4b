"""Which of several StatefulRoutes of one cluster has a service that all of them claim: the one that has it already.

No clock says who was first: `creationTimestamp` is by whichever API server has written it.
"""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Contender:
    """A StatefulRoute that claims the service.

    Attributes:
        uid: Its own.
        serves: It has the service, as far as is known without a look at the store.
    """

    uid: str
    serves: bool


def incumbent(contenders: Iterable[Contender], owner: str = "") -> str:
    """The uid of the one that has the service; empty: none is known to, and whoever claims it first in the store may.

    Args:
        contenders: All that claim it.
        owner: Whom the store names as the owner; empty: nobody has asked it. One that does not contend does not count.
    """
    having = (one for one in contenders if one.serves or one.uid == owner)
    return min(having, key=lambda one: (one.uid != owner, one.uid), default=Contender("", serves=False)).uid
