"""Gives the pod's uids away, one by one: save the state, remove the link if it still names the pod, tell callers.

Where they stay linked to the pod, for its next life, the state is saved alone.
"""

import logging
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass

from stateful_route.domain.errors import StatefulRouteError
from stateful_route.domain.routing import Reason
from stateful_route.drivers.holdings import Holding
from stateful_route.drivers.pod import Pod
from stateful_route.drivers.runtime import Crew, Notice, tell
from stateful_route.store.batch import answered_each
from stateful_route.store.links import remove_link_with_id_request
from stateful_route.store.migrate import NOBODY, Moved, append_moves

log = logging.getLogger(__name__)

ATTEMPTS = 3
"""To save a uid's state, `RETRY_SECONDS` apart."""

RETRY_SECONDS = 1.0

TELL_SECONDS = 0.05
"""For so long uids that were saved are gathered, to be removed and told together."""

LOOK_SECONDS = 0.25
"""Between two looks for users who have been taken since the giving away began."""

UIDS_PER_TRIP = 500


@dataclass(frozen=True, slots=True)
class Order:
    """To give everything away: from when, and until when, by the monotonic clock.

    ``keep``: what is saved stays linked to the pod, for its next life; nobody is served by it any more.
    """

    begin: float
    until: float
    keep: bool = False


@dataclass(frozen=True, slots=True)
class Saved:
    """A uid whose state is saved and whose link is to be removed; ``tried``: it may have been, no answer came."""

    uid: str
    holding: Holding
    tried: bool = False


class Handover:
    """Gives away all that is held, for as long as somebody asks for it."""

    def __init__(self, pod: Pod, suspect: Callable[[str], None]) -> None:
        """``suspect``: told of a uid that the pod may have lost."""
        self._pod = pod
        self._suspect = suspect
        self._me = pod.me
        self._holdings = pod.holdings
        self._saved: deque[Saved] = deque()
        self._kept: dict[str, Saved] = {}
        """What is saved and stays linked, as long as nobody says otherwise."""
        self._untold: deque[Moved] = deque()
        self._attempts: Counter[str] = Counter()

    def forget(self) -> None:
        """What could not be saved may be tried as often again: nobody asks for it any more, or somebody else does."""
        self._attempts.clear()

    def left(self) -> list[str]:
        """Uids that are still to be given away; without those that were tried often enough."""
        return [uid for uid in self._holdings.uids() if self._attempts[uid] < ATTEMPTS and not self._is_kept(uid)]

    def is_done(self, *, keep: bool) -> bool:
        """Whether an order would find nothing to do; ``keep``: as it would say."""
        return not self.left() and (keep or not self._kept)

    def end(self) -> int:
        """The pod ends; how many uids are saved and stay linked to it."""
        kept = sum(self._is_kept(uid) for uid in self._kept)
        self._kept.clear()
        return kept

    async def give_away(self, order: Callable[[], Order | None]) -> None:
        """Give away what is held, once; ``order`` is asked again and again whether that is still wanted.

        Where it is not any more, what has begun is finished; past its end, that is abandoned. An order that keeps links
        may become one that does not, and the other way round: what it has not removed yet follows the last word.
        """
        if (wanted := order()) is None or self.is_done(keep=wanted.keep):
            return
        keep, uids = wanted.keep, deque(self.left())
        log.info("%s saves %d uids, to %s", self._me, len(uids), "keep them" if keep else "give them away")
        released = self._pod.tally.stats(0).released
        crew = Crew(uids, self._save, self._pod.options.releases_at_once)
        begun, until, look_at = set(uids), self._pod.now(), self._pod.now()
        try:
            finished = False
            while not finished:
                wanted = order()
                if wanted is None:
                    uids.clear()
                else:
                    until, keep = wanted.until, wanted.keep
                if self._pod.now() >= until:
                    break
                finished = await crew.done(min(TELL_SECONDS, until - self._pod.now()))
                await self._settle(keep=keep)
                if wanted is not None and self._pod.now() >= look_at:  # who comes late waits for no slow save of others
                    look_at = self._pod.now() + LOOK_SECONDS
                    late = [uid for uid in self.left() if uid not in begun]
                    begun.update(late)
                    uids.extend(late)
                    crew.call_in()
                    finished = finished and not late
        finally:
            await crew.dismiss()
        await self._settle(keep=keep)
        released = self._pod.tally.stats(0).released - released
        kept, held = len(self._kept), len(self._holdings)
        log.info("%s has given %d uids away and keeps %d, %d are left", self._me, released, kept, held - kept)

    async def _save(self, uid: str) -> None:
        holding = self._holdings.leave(uid)
        if holding is None:
            return
        good = owned = False
        try:
            await self._requests_over(uid)
            owned = await self._is_owned(uid, holding)
            hook = self._pod.hooks.on_release
            good = owned and (hook is None or await tell(hook, uid))
        finally:
            if good:
                self._saved.append(Saved(uid, holding))
            else:
                self._holdings.stay(uid, holding)
            if owned and not good:
                self._attempts[uid] += 1
                self._pod.tally.add("unsaved")

    async def _requests_over(self, uid: str) -> None:
        """Wait for the requests that are under way, so that the save has what they change; at most so long."""
        idle = Notice()
        if not self._holdings.when_idle(uid, idle.give) and not await idle.wait(self._pod.options.request_seconds):
            log.warning(
                "%s saves a uid while requests of it are under way, for over %g s",
                self._me,
                self._pod.options.request_seconds,
            )

    async def _is_owned(self, uid: str, holding: Holding) -> bool:
        """Whether the uid is still this pod's: who has lost it would save an old state over a newer one.

        While the store does not say, it is: nobody can move a link then, and what is not saved now is lost.
        """
        me = self._me
        try:
            owned = await self._pod.executor.is_owner(me.namespace, uid, me.service, me.ordinal, holding.epoch)
        except StatefulRouteError as error:
            log.warning("it is not known whether %s still owns a uid, its state is saved: %s", me, error)
            return True
        if not owned:
            self._suspect(uid)
        return owned

    def _is_kept(self, uid: str) -> bool:
        one = self._kept.get(uid)
        return one is not None and self._holdings.held(uid) is one.holding

    async def _settle(self, *, keep: bool) -> None:
        """What is saved stays linked, or is removed: but for that of which a removal has begun already."""
        if keep:
            for _ in range(len(self._saved)):
                one = self._saved.popleft()
                if one.tried:
                    self._saved.append(one)
                else:
                    self._kept[one.uid] = one
        else:
            self._saved.extend(self._kept.values())
            self._kept.clear()
        await self._remove()

    async def _remove(self) -> None:
        """Remove the links of what is saved, where they still name this pod, and tell callers."""
        while self._saved:
            part = [self._saved.popleft() for _ in range(min(UIDS_PER_TRIP, len(self._saved)))]
            part = [one for one in part if self._holdings.held(one.uid) is one.holding]
            if not await self._removed({one.uid: one for one in part}):
                break
        await self._tell()

    async def _removed(self, saved: dict[str, Saved]) -> bool:
        """Whether all were answered; the others are kept, to be tried again."""
        target, me = self._me.target, self._me.ordinal
        try:
            replies = await answered_each(
                self._pod.executor.store, saved, lambda uid, _: remove_link_with_id_request(target, uid, me)
            )
        except StatefulRouteError as error:
            log.warning("links of %s cannot be removed, they are tried again: %s", self._me, error)
            self._saved.extend(saved.values())
            return False
        for uid, failure in replies.failed.items():
            one = saved[uid]
            self._saved.append(Saved(uid, one.holding, tried=one.tried or failure.maybe_written))
        for uid, removed in replies.done.items():
            one = saved[uid]
            if removed or one.tried:
                self._untold.append(Moved(uid, NOBODY, one.holding.epoch))
                self._pod.tally.add("released")
            self._holdings.drop(uid)
        return not replies.failed

    async def _tell(self) -> None:
        while self._untold:
            part = [self._untold.popleft() for _ in range(min(UIDS_PER_TRIP, len(self._untold)))]
            try:
                store = await self._pod.executor.store()
                await append_moves(store, self._me.target, self._me.ordinal, Reason.RELEASED, part)
            except StatefulRouteError as error:
                log.warning("callers cannot be told what %s has given away: %s", self._me, error)
                self._untold.extendleft(reversed(part))
                return
