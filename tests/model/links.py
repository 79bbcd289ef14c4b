"""The links as they stand in the real store, looked at after each request that may have changed one."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from model.wire import Cable, Command, Network, Request
from stateful_route.domain.epoch import STEP
from stateful_route.store.keys import Service

FOREVER = -1
TIME = "time"
"""As who has changed a link: its time to live has ended."""


class Standing(NamedTuple):
    """One link.

    Attributes:
        pod: Which it names; None: there is none.
        epoch: Of its entry in the index; -1: it has none there.
        expires: When, ms by the server's clock; `FOREVER`.
        retained: It was removed with a delay: nobody owns the uid.
    """

    pod: int | None
    epoch: int = -1
    expires: int = FOREVER
    retained: bool = False

    @property
    def owner(self) -> int | None:
        """The pod that has the uid."""
        return None if self.retained else self.pod

    def __str__(self) -> str:
        if self.pod is None:
            return "nobody"
        kind = "retained" if self.retained else "for good" if self.expires == FOREVER else "temporary"
        return f"pod {self.pod} ({kind}, epoch ..{self.epoch % 10**7 if self.epoch >= 0 else -1})"


NOTHING = Standing(None)


class Change(NamedTuple):
    """Somebody has changed a link."""

    who: str
    scripts: Sequence[str]
    uid: str
    before: Standing
    after: Standing

    @property
    def moved(self) -> bool:
        """Another pod owns the uid now, or nobody."""
        return self.before.owner is not None and self.before.owner != self.after.owner


class Links:
    """What stands, by the last look."""

    def __init__(
        self, network: Network, service: Service, uids: Sequence[str], heard: Callable[[Change], None]
    ) -> None:
        self._network, self._service, self._uids, self._heard = network, service, uids, heard
        self.standing: dict[str, Standing] = dict.fromkeys(uids, NOTHING)
        network.watcher = self._watch

    def names(self, uid: str, pod: int, epoch: int) -> bool:
        """Whether the fence lets this token pass."""
        self.expire()
        now = self.standing[uid]
        return now.owner == pod and now.epoch == epoch

    def expire(self, who: str = TIME) -> None:
        """Note what has run out."""
        now = self._network.now_ms
        for uid, was in self.standing.items():
            if was.expires != FOREVER and was.expires <= now:
                self._note(Change(who, (), uid, was, NOTHING))

    def look(self, who: str, scripts: Sequence[str] = ()) -> None:
        """Note what somebody has just changed."""
        self.expire()
        service = self._service
        asked: list[Command] = []
        for uid in self._uids:
            link = service.link(uid)
            asked += [("GET", link), ("PEXPIRETIME", link), ("HGET", service.links(uid), service.name)]
            asked += [("ZSCORE", service.index(service.bucket(uid)), uid)]
        replies = iter(self._network.ask(*asked))
        for uid, pod, expires, field, score in zip(self._uids, replies, replies, replies, replies, strict=True):
            now = NOTHING
            if isinstance(pod, bytes) and pod.isdigit():
                ordinal, entry = int(pod), int(float(score)) if score else -1
                epoch = entry % STEP if entry >= 0 and entry // STEP == ordinal else -1
                retained = field is None and expires != FOREVER
                now = Standing(ordinal, epoch, expires, retained)
            if now != self.standing[uid]:
                self._note(Change(who, tuple(scripts), uid, self.standing[uid], now))

    def _watch(self, cable: Cable, request: Request) -> None:
        self.look(cable.name, request.scripts)

    def _note(self, change: Change) -> None:
        self.standing[change.uid] = change.after
        self._heard(change)
