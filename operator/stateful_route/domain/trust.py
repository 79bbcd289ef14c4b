"""Whether a connection still leads to the server that its address stands for.

Behind one address (a Service, a virtual IP, a DNS name, what Sentinel says) another server may stand tomorrow; the
connections that were made before stay with the old one. That one may have become a read-only replica, which a write
is told and a read is not, or it may not know yet that it was replaced. So a connection is asked for its role before it
is used, if it was not for a while; and every so often a look is taken at who stands behind the address now, by a
connection that is made for that: another server than before, and all older connections are given up.
"""

from enum import Enum
from typing import NamedTuple

OVERDUE = 1.5
"""So many times the look's period: while calls are made, each look is over long before the next one."""


EXCUSED = 10
"""So many of them a look is not waited for after one that was waited for in vain."""


class Due(Enum):
    """What is to be done with a connection before it is used."""

    NOTHING = "nothing"
    ASK = "ask it for its role"
    RENEW = "connect anew"


class Standing(NamedTuple):
    """What is known of a connection.

    Attributes:
        generation: Of `Trust`, when it was made.
        seen: When it was last seen to lead to a primary, by the monotonic clock.
    """

    generation: int
    seen: float


class Trust:
    """The trust in the connections to one address; times are seconds of the monotonic clock."""

    def __init__(self, ask_seconds: float, look_seconds: float) -> None:
        """Nobody is known yet.

        Args:
            ask_seconds: A connection that was not seen to lead to a primary for so long is asked.
            look_seconds: A look at the address is due so long after the last connection was made.
        """
        self._ask_seconds = ask_seconds
        self._look_seconds = look_seconds
        self._generation = 0
        self._server = ""
        self._look_at = float("inf")
        self._confirmed = float("-inf")

    @property
    def generation(self) -> int:
        """Connections of an earlier one lead, or may lead, to a server that was replaced."""
        return self._generation

    def due(self, standing: Standing | None, now: float) -> Due:
        """What is to be done with a connection before it is used; ``standing`` None: nothing, it is new."""
        if standing is None:
            return Due.NOTHING
        if standing.generation != self._generation:
            return Due.RENEW
        return Due.ASK if now - standing.seen >= self._ask_seconds else Due.NOTHING

    def look_is_overdue(self, now: float) -> bool:
        """Whether nobody has seen for long who stands behind the address: the look is to be waited for."""
        return now - self._confirmed > self._look_seconds * OVERDUE

    def excuse(self, now: float) -> None:
        """It was waited for in vain: nobody can tell, so it is not waited for again for a while."""
        self._confirmed = now + self._look_seconds * EXCUSED

    def confirm(self, now: float) -> None:
        """It was seen that the address leads where it led before."""
        self._confirmed = now

    def look_is_due(self, now: float) -> bool:
        """Whether somebody is to look who stands behind the address now; said to one of all who ask."""
        if now < self._look_at:
            return False
        self._look_at = now + self._look_seconds
        return True

    def met(self, server: str, now: float) -> Standing:
        """A connection was made, to a server of this run id (or address, where the run id is not told)."""
        if self._server not in {"", server}:
            self._generation += 1
        self._server = server
        self._look_at = now + self._look_seconds
        self._confirmed = now
        return Standing(self._generation, now)

    def doubt(self) -> None:
        """A server has said that it is not the primary: none of the connections is trusted that were made so far."""
        self._generation += 1
        self._server = ""
