"""Which life of a routed process this is."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, Self

FORMER = 8
"""So many former pods of one ordinal are remembered: one that was replaced that often is gone for certain."""


class Incarnation(NamedTuple):
    """One life of the routed process: a successor pod has another uid, a restarted container another count."""

    pod_uid: str
    restarts: int

    def __str__(self) -> str:
        return f"{self.pod_uid}/{self.restarts}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """The inverse of ``str``; a text without a count (a foreign one) counts as the first life."""
        pod_uid, _, restarts = text.rpartition("/")
        return cls(pod_uid, int(restarts)) if pod_uid and restarts.isdigit() else cls(text, 0)


class Container(NamedTuple):
    """Which container runs the routed process; each is empty where nobody says.

    Attributes:
        id: Its id in its runtime.
        started: When it started, in its kubelet's words.
        name: As the pod's spec calls it.
    """

    id: str = ""
    started: str = ""
    name: str = ""

    @classmethod
    def parse(cls, words: list[str]) -> Self:
        """One that stands in a record as the list of its words.

        Raises:
            TypeError: they are no such list.
        """
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            raise TypeError(f"{words!r} is no container's words")
        return cls(*words)

    @property
    def started_at(self) -> float | None:
        """When it started, seconds since the epoch by its kubelet's clock; None: its kubelet does not say."""
        try:
            return datetime.fromisoformat(self.started).timestamp()
        except ValueError:
            return None

    def follows(self, former: Self) -> bool:
        """Whether it is another life than the former: a wiped node may start one without counting a restart.

        Another container of the same pod is none: somebody has said that it is the routed one (``health.container``).
        """
        if self.name and former.name and self.name != former.name:
            return False
        if self.id and former.id:
            return self.id != former.id
        return bool(self.started and former.started) and self.started != former.started

    def known_as(self, former: Self) -> Self:
        """The same container, with what was known of it before and is not said any more."""
        if self.name and former.name and self.name != former.name:
            return self
        return type(self)(self.id or former.id, self.started or former.started, self.name or former.name)


UNKNOWN_CONTAINER = Container()


@dataclass(frozen=True, slots=True)
class Succession:
    """The pods of one ordinal that this process has heard of: whose turn it is, and who must not speak any more.

    Attributes:
        current: The pod's uid; None: no pod has been seen.
        former: Uids of pods that it, or one before it, has replaced, the latest first.
    """

    current: str | None = None
    former: tuple[str, ...] = ()

    def followed_by(self, current: str | None, former: Iterable[str] = ()) -> Self:
        """As it is when that pod has the ordinal (None: nobody new), and those are known to be replaced as well."""
        now = current or self.current
        ended = [self.current] if self.current is not None else []
        known = dict.fromkeys(uid for uid in (*ended, *former, *self.former) if uid != now)
        return type(self)(now, tuple(known)[:FORMER])
