# Generated from comparison.py by tools/twins.py: change that one, then run: make twins
"""Holds what this pod owns against what the store says, and asserts again what the store has lost."""

from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import islice

from stateful_route.domain.holding import Finding, StandingLink, find
from stateful_route.drivers.comparison import LINKS_PER_TRIP, SHORT_SECONDS, _raise_outage, _Seen, log
from stateful_route.drivers.holdings import Holding, Watch
from stateful_route.drivers.pod_sync import Pod
from stateful_route.drivers.runtime_sync import Guard
from stateful_route.store.batch_sync import answered_each
from stateful_route.store.links import PERSISTENT, is_owner_request, set_link_if_absent_request, try_set_link_request
from stateful_route.store.reading_sync import read_links
from stateful_route.store.rest_sync import Rest


class Comparison:
    """Compares, a portion at a time; what is told as gained counts once it has been seen in the store.

    ``confirm`` is awaited before anything is taken that this pod did not ask for: it raises where the pod is not the
    one that it takes itself for (its name may have a successor).
    """

    def __init__(self, pod: Pod, confirm: Callable[[], object]) -> None:
        self._pod = pod
        self._me = pod.me
        self._holdings = pod.holdings
        self._confirm = confirm
        self._suspects: dict[str, int | None] = {}
        """Uids to look at at once, and which pod each was on, if a message has said so."""
        self._guard = Guard()

    @property
    def suspects(self) -> bool:
        """There are uids to be looked at at once."""
        return bool(self._suspects)

    def suspect(self, uid: str, source: int | None = None) -> None:
        """Look at this uid at once; ``source``: the pod it was moved off."""
        with self._guard:
            self._suspects[uid] = source if source is not None else self._suspects.get(uid)

    def forget(self) -> None:
        """Suspect nothing any more."""
        self._suspects.clear()

    def settle_suspects(self) -> None:
        """Look at all uids that are suspected; afterwards those are that the app was busy with.

        Raises:
            Replaced: the pod has a successor.
            StoreUnavailable: those that are left remain suspected.
        """
        with self._guard:
            suspects, self._suspects = self._suspects, {}
        try:
            if any(self._holdings.held(uid) is None for uid in suspects):
                self._confirm()
            while suspects:
                sources = dict(islice(suspects.items(), LINKS_PER_TRIP))
                self._look(sources)
                for uid in sources:
                    del suspects[uid]
        finally:
            if suspects:
                with self._guard:
                    self._suspects = {**suspects, **self._suspects}

    def compare_all(self, *, urgent: bool) -> None:
        """Look at everything that is held; ``urgent``: without resting in between, nothing is served until then.

        Raises:
            Replaced, StoreUnavailable: as `settle_suspects`.
        """
        rest = Rest()
        for portion in self._holdings.portions(LINKS_PER_TRIP):
            self._look(dict.fromkeys(portion))
            self.settle_suspects()
            if not urgent:
                rest.after(len(portion))

    def find_gained(self) -> None:
        """Look for uids whose links name this pod and of which nobody has told it, by the index.

        Raises:
            Replaced, StoreUnavailable: as `settle_suspects`.
        """
        me = self._me
        for page in self._pod.executor.links_of_pod(me.namespace, me.service, me.ordinal):
            for uid in page.uids:
                if self._holdings.held(uid) is None:
                    self.suspect(uid)
            self.settle_suspects()

    def _look(self, sources: Mapping[str, int | None]) -> None:
        """Compare some uids with their links; ``sources``: which pod each was on, if that is known."""
        with self._holdings.watch() as watch:
            before = {uid: self._holdings.held(uid) for uid in sources}
            links, refused = read_links(self._pod.executor.store(), self._me.target, sources)
            self._give_epochs(links, before)
            retained = self._retained(links, before)
            lost, disturbed = [], []
            for uid, link in links.items():
                seen = _Seen(uid, before[uid], None if uid in retained else link, sources[uid])
                finding = self._find(seen, retained)
                if finding is Finding.LOST:
                    lost.append(uid)
                elif not self._settle(watch, seen, finding):
                    disturbed.append(uid)
            disturbed += self._assert_again(watch, lost, before)
        for uid in disturbed:
            self.suspect(uid, sources[uid])
        self._pod.tally.add("compared", sum(held is not None for held in before.values()))
        for error in list(refused.values())[:1]:
            log.warning("%d links of %s cannot be compared: %s", len(refused), self._me, error)

    def _find(self, seen: "_Seen", retained: Collection[str]) -> Finding:
        if seen.held is None:
            mine = seen.link is not None and seen.link.ordinal == self._me.ordinal and seen.link.epoch is not None
            return Finding.RENEWED if mine else Finding.SAME
        if seen.held.leaving:
            return Finding.SAME
        if seen.uid in retained:
            return Finding.EXPIRED
        return find(self._me.ordinal, seen.held.epoch, seen.link, persistent=seen.held.persistent)

    def _settle(self, watch: Watch, seen: "_Seen", finding: Finding) -> bool:
        """Act on what was found; False: something else was heard of the uid meanwhile, look again."""
        uid, held, link, source = seen
        match finding:
            case Finding.SAME if held is not None and link is not None and link.epoch is not None:
                known = held.leaving or (held.life == watch.life and held.persistent == link.persistent)
                return known or watch.put(uid, held, link.epoch, persistent=link.persistent)
            case Finding.RENEWED if link is not None and link.epoch is not None:
                if not watch.put(uid, held, link.epoch, persistent=link.persistent):
                    return False
                self._pod.tally.add("gained")
                self._pod.telling.gained(uid, source)
            case Finding.ELSEWHERE | Finding.EXPIRED if held is not None:
                if not watch.drop(uid, held):
                    return False
                self._lost(uid, link.ordinal if finding is Finding.ELSEWHERE and link is not None else None)
        return True

    def _assert_again(self, watch: Watch, uids: Sequence[str], before: Mapping[str, Holding | None]) -> list[str]:
        """Link uids again that the store has lost; those of which something was heard meanwhile."""
        if not uids:
            return []
        self._confirm()  # it may have lost the pod's state, too: a caller would move what it finds on no pod
        target, me = self._me.target, self._me.ordinal
        replies = answered_each(
            self._pod.executor.store, uids, lambda uid, _: try_set_link_request(target, uid, me, PERSISTENT)
        )
        disturbed = list(replies.failed)
        for uid, tried in replies.done.items():
            held = before[uid]
            if held is None:
                continue
            if not tried.done:
                if watch.drop(uid, held):
                    self._lost(uid, tried.ordinal)
            elif watch.put(uid, held, tried.epoch, persistent=True):
                self._pod.tally.add("reasserted")
                if held.life != watch.life:  # somebody may have had it, and given it up, while this pod counted as dead
                    self._pod.telling.gained(uid, None)
            else:
                disturbed.append(uid)
        _raise_outage(replies)
        return disturbed

    def _give_epochs(self, links: dict[str, StandingLink | None], before: Mapping[str, Holding | None]) -> None:
        """Enter links of ours into the index that are not there any more; nothing else is changed."""
        target, me = self._me.target, self._me.ordinal
        bare = {
            uid: link
            for uid, link in links.items()
            if link is not None and link.ordinal == me and link.epoch is None and before[uid] is not None
        }
        if not bare:
            return
        replies = answered_each(
            self._pod.executor.store,
            bare,
            lambda uid, _: set_link_if_absent_request(
                target, uid, me, PERSISTENT if bare[uid].persistent else SHORT_SECONDS
            ),
        )
        _raise_outage(replies)
        for uid, link in replies.done.items():
            links[uid] = StandingLink(link.ordinal, bare[uid].persistent, link.epoch)

    def _retained(
        self, links: Mapping[str, StandingLink | None], before: Mapping[str, Holding | None]
    ) -> frozenset[str]:
        """Those whose link names this pod only for late callers: it was removed with a delay, nobody owns the uid."""
        epochs = {
            uid: link.epoch
            for uid, link in links.items()
            if link is not None
            and link.ordinal == self._me.ordinal
            and link.epoch is not None
            and not link.persistent
            and ((held := before[uid]) is None or held.epoch != link.epoch)
        }
        if not epochs:
            return frozenset()
        target, me = self._me.target, self._me.ordinal
        replies = answered_each(
            self._pod.executor.store, epochs, lambda uid, _: is_owner_request(target, uid, me, epochs[uid])
        )
        _raise_outage(replies)
        return frozenset(uid for uid, owned in replies.done.items() if not owned)

    def _lost(self, uid: str, to: int | None) -> None:
        self._pod.tally.add("expired" if to is None else "moved")
        self._pod.telling.moved(uid, to)
