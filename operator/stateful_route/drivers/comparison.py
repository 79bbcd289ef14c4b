"""Holds what this pod owns against what the store says, and asserts again what the store has lost."""

import logging
from collections.abc import Awaitable, Callable, Mapping
from itertools import islice
from typing import Any

from stateful_route.domain.errors import InvalidArgument, StoreUnavailable
from stateful_route.domain.holding import Finding, StandingLink, find
from stateful_route.domain.names import check_uid
from stateful_route.drivers.holdings import Holding, Watch
from stateful_route.drivers.pod import Pod
from stateful_route.drivers.record_of_moves import RecordOfMoves
from stateful_route.drivers.runtime import Guard
from stateful_route.store.batch import Replies, answered_each
from stateful_route.store.migrate import NOBODY, Moved
from stateful_route.store.reading import read_links
from stateful_route.store.rest import Rest
from stateful_route.store.taking import Bid, Taken, TakeOutcome, Which, take_link_request

log = logging.getLogger(__name__)

LINKS_PER_TRIP = 500
"""In one round trip: some milliseconds of the server's time, and of this process's."""


class Comparison:
    """Compares, a portion at a time; what is told as gained counts once it has been seen in the store.

    ``confirm`` is awaited before anything is taken that this pod did not ask for: it raises where the pod is not the
    one that it takes itself for (its name may have a successor).
    """

    def __init__(self, pod: Pod, confirm: Callable[[], Awaitable[object]]) -> None:
        self._pod = pod
        self._me = pod.me
        self._holdings = pod.holdings
        self._confirm = confirm
        self._suspects: dict[str, int | None] = {}
        """Uids to look at at once, and which pod each was on, if a message has said so."""
        self._guard = Guard()
        self._record = RecordOfMoves(pod)

    @property
    def suspects(self) -> bool:
        """There are uids to be looked at at once."""
        return bool(self._suspects)

    def suspect(self, uid: str, source: int | None = None) -> None:
        """Look at this uid at once; ``source``: the pod it was moved off.

        A foreign client's uid that the library cannot be asked for is nobody's: no request names it.
        """
        try:
            check_uid(uid)
        except InvalidArgument:
            return
        with self._guard:
            self._suspects[uid] = source if source is not None else self._suspects.get(uid)

    def begin(self) -> None:
        """Nothing is held, and nothing is suspected."""
        self._suspects.clear()
        self._record.confirm(self._record.now())

    def note_loss(self) -> None:
        """The store has lost what this pod had written: links, too, perhaps."""
        self._record.note_loss()

    async def settle_suspects(self) -> None:
        """Look at all uids that are suspected; afterwards those are that the app was busy with.

        Raises:
            Replaced: the pod has a successor.
            StoreUnavailable: those that are left remain suspected.
        """
        with self._guard:
            suspects, self._suspects = self._suspects, {}
        try:
            while suspects:
                sources = dict(islice(suspects.items(), LINKS_PER_TRIP))
                await self._look(sources)
                for uid in sources:
                    del suspects[uid]
        finally:
            if suspects:
                with self._guard:
                    self._suspects = {**suspects, **self._suspects}

    async def compare_all(self, *, urgent: bool) -> None:
        """Look at everything that is held; ``urgent``: without resting in between, nothing is served until then.

        Raises:
            Replaced, StoreUnavailable: as `settle_suspects`.
        """
        horizon, rest = self._record.now(), Rest()
        for portion in self._holdings.portions(LINKS_PER_TRIP):
            await self._look(dict.fromkeys(portion))
            await self.settle_suspects()
            if not urgent:
                await rest.after(len(portion))
        self._record.confirm(horizon)

    async def find_gained(self) -> None:
        """Look for uids whose links name this pod and of which nobody has told it, by the index.

        Raises:
            Replaced, StoreUnavailable: as `settle_suspects`.
        """
        me = self._me
        async for page in self._pod.executor.links_of_pod(me.namespace, me.service, me.ordinal):
            for uid in page.uids:
                if self._holdings.held(uid) is None:
                    self.suspect(uid)
            await self.settle_suspects()

    async def _look(self, sources: Mapping[str, int | None]) -> None:
        """Compare some uids with their links; ``sources``: which pod each was on, if that is known."""
        with self._holdings.watch() as watch:
            before = {uid: self._holdings.held(uid) for uid in sources}
            links, refused = await read_links(await self._pod.executor.store(), self._me.target, sources)
            lost: dict[str, Holding] = {}
            renewed: dict[str, StandingLink] = {}
            disturbed = []
            for uid, link in links.items():
                held = before[uid]
                match _find(self._me.ordinal, held, link):
                    case Finding.LOST if held is not None:
                        lost[uid] = held
                    case Finding.RENEWED | Finding.UNINDEXED if link is not None:
                        renewed[uid] = link
                    case finding if not self._settle(watch, uid, held, link, finding):
                        disturbed.append(uid)
            disturbed += await self._take_renewed(watch, renewed, before, sources)
            disturbed += await self._assert_again(watch, lost)
        for uid in disturbed:
            self.suspect(uid, sources[uid])
        self._pod.tally.add("compared", sum(held is not None for held in before.values()))
        for error in list(refused.values())[:1]:
            log.warning("%d links of %s cannot be compared: %s", len(refused), self._me, error)

    def _settle(
        self, watch: Watch, uid: str, held: Holding | None, link: StandingLink | None, finding: Finding
    ) -> bool:
        """Act on what was found; False: something else was heard of the uid meanwhile, look again."""
        match finding:
            case Finding.SAME if held is not None and link is not None and link.epoch is not None:
                known = held.leaving or (held.life == watch.life and held.persistent == link.persistent)
                return known or watch.put(uid, held, link.epoch, persistent=link.persistent)
            case Finding.ELSEWHERE | Finding.EXPIRED if held is not None:
                if not watch.drop(uid, held):
                    return False
                self._pod.lost(uid, link.ordinal if finding is Finding.ELSEWHERE and link is not None else None)
        return True

    async def _take_renewed(
        self,
        watch: Watch,
        links: Mapping[str, StandingLink],
        before: Mapping[str, Holding | None],
        sources: Mapping[str, int | None],
    ) -> list[str]:
        """Take uids whose links name this pod since an epoch that it does not know; those to be looked at again.

        Whoever gave that epoch may have given it to another life of this pod: each is given one of its own.
        """
        if not links:
            return []
        await self._confirm()
        # What the app takes meanwhile may have just the epoch that was read: a new one would look like another life's.
        disturbed = [uid for uid in links if not watch.undisturbed(uid, before[uid])]
        links = {uid: link for uid, link in links.items() if uid not in disturbed}
        target, me = self._me.target, self._me.ordinal

        def kept(uid: str) -> bool:
            """The app has accepted the uid, for good; whoever links it anew, for a time, does not change that."""
            held = before[uid]
            return held is not None and held.persistent

        replies = await answered_each(
            self._pod.executor.store,
            links,
            lambda uid, _: take_link_request(target, uid, me, Bid(Which.SAME, links[uid].epoch, kept(uid))),
        )
        for uid, taken in replies.done.items():
            held = before[uid]
            if taken.outcome is TakeOutcome.TAKEN and taken.epoch is not None:
                if watch.put(uid, held, taken.epoch, persistent=links[uid].persistent or kept(uid)):
                    self._pod.tally.add("gained")
                    self._pod.gained(uid, sources[uid])
                else:  # the app has taken it by itself meanwhile, perhaps since the epoch that was just replaced
                    if (former := links[uid].epoch) is not None:
                        self._holdings.reissued(uid, former, taken.epoch)
                    disturbed.append(uid)
            elif taken.outcome is TakeOutcome.STANDING or taken.ordinal not in {None, me}:
                disturbed.append(uid)
            elif held is not None:  # nobody owns it: it was removed, and is kept for late callers only
                if watch.drop(uid, held):
                    self._pod.lost(uid, None)
                else:
                    disturbed.append(uid)
        _raise_outage(replies)
        return disturbed

    async def _assert_again(self, watch: Watch, lost: Mapping[str, Holding]) -> list[str]:
        """Link uids again whose links are not there; those of which something was heard meanwhile.

        Only the store can have lost them, once it is known that nobody has moved or removed them: whatever was told
        since everything was last seen in its place is read first. Where some of it may be missing, somebody else may
        have had them: the app has to load them anew.
        """
        if not lost:
            return []
        await self._confirm()  # it may have lost the pod's state, too: a caller would move what it finds on no pod
        told = await self._record.told_of(lost)
        disturbed = [uid for uid, link in told.gone.items() if not self._ended(watch, uid, lost[uid], link)]
        target, me = self._me.target, self._me.ordinal
        replies = await answered_each(
            self._pod.executor.store,
            [uid for uid in lost if uid not in told.gone],
            lambda uid, _: take_link_request(target, uid, me, Bid(Which.UNOWNED, lost[uid].epoch)),
        )
        displaced: dict[int, list[Moved]] = {}
        for uid, taken in replies.done.items():
            if (source := taken.displaced) is not None and taken.epoch is not None:
                displaced.setdefault(source, []).append(Moved(uid, me, taken.epoch))
            if not self._asserted(watch, uid, lost[uid], taken, complete=told.complete):
                disturbed.append(uid)
        for source, moved in displaced.items():
            await self._pod.tell_taken(source, moved)
        _raise_outage(replies)
        return [*disturbed, *replies.failed]

    def _ended(self, watch: Watch, uid: str, held: Holding, link: Moved) -> bool:
        """The uid went elsewhere before its link went; False: something else was heard of it meanwhile."""
        if not watch.drop(uid, held):
            return False
        self._pod.lost(uid, None if link.to in {NOBODY, self._me.ordinal} else link.to)
        return True

    def _asserted(self, watch: Watch, uid: str, held: Holding, taken: Taken, *, complete: bool) -> bool:
        """Note what came of asserting a uid; False: look at it again."""
        if taken.outcome is TakeOutcome.STANDING or taken.epoch is None:
            return False
        if taken.outcome is TakeOutcome.REFUSED:
            if not watch.drop(uid, held):
                return False
            self._pod.lost(uid, taken.ordinal)
            return True
        undisputed = complete and held.life == watch.life  # else it counted as dead for a while
        if not watch.put(uid, held, taken.epoch, persistent=True, undisputed=undisputed):
            if undisputed:
                self._holdings.reissued(uid, held.epoch, taken.epoch)
            return False
        self._pod.tally.add("reasserted")
        if not undisputed:
            self._pod.tally.add("gained")
            self._pod.gained(uid, None)
        return True


def _find(ordinal: int, held: Holding | None, link: StandingLink | None) -> Finding:
    if held is None:
        mine = link is not None and link.ordinal == ordinal and link.epoch is not None
        return Finding.RENEWED if mine else Finding.SAME
    if held.leaving:
        return Finding.SAME
    return find(ordinal, held.epoch, link, persistent=held.persistent)


def _raise_outage(replies: Replies[Any]) -> None:
    for error in replies.failed.values():
        if isinstance(error, StoreUnavailable):
            raise error
