"""The promises: what must be true after each step, or as soon as something happens.

- I1a: at most one process believes to own a uid and passes the fence.
- I1b: no two living processes have the same token; I1c: nor where the store was emptied since one of them got it.
- I2: no write by a former owner is accepted after one by a later owner.
- I3a: no link expires of a user who keeps coming; I3b: nor one that its pod has accepted.
- I4: every change of owner that a script makes is in the stream of moves after the step that made it: I4a those by
  callers, I4b by the operator, I4c by pods and by whoever removes or purges links.
- I5a: accept() says no to a uid that is leaving; I5b: and takes nobody new while the pod is not READY;
  I5c: no acknowledged update is lost when a pod stops or is drained by its app.
- I6a: who has lost a uid never owns it again with old memory; I6b: nor where the store was emptied meanwhile.
- I7a: when all has settled, who believes to own a uid is who the store says; I7b: and no process that has a living
  successor; I7c: and who has the store's token does believe.
- I0: nothing raises what it should not.
"""

import json
from collections.abc import Collection, Sequence
from functools import cache
from typing import TYPE_CHECKING

from model.database import Version
from model.links import TIME, Change
from stateful_route.domain.routing import RoutingState

if TYPE_CHECKING:
    from model.app import Process
    from model.world import World

PROMISES = (
    "I0",
    "I1a",
    "I1b",
    "I1c",
    "I2",
    "I3a",
    "I3b",
    "I4a",
    "I4b",
    "I4c",
    "I5a",
    "I5b",
    "I5c",
    "I6a",
    "I6b",
    "I7a",
    "I7b",
    "I7c",
)

KEEP_SHARE = 0.8
"""Of a temporary link's time to live: who asks at least so often keeps the link (240 of 300 s)."""

ACCEPTED_SECONDS = 40.0
"""So long after an accept() the link must be one for good: a period of the pod's comparing has passed."""


NOTICED_SECONDS = 35.0
"""After so long everybody has noticed what has become of a link: a period of the pod's comparing, and a bit."""


class Broken(AssertionError):  # noqa: N818  as a promise is
    """A promise was not kept; ``promise``: which, ``taken``: after how many steps of a history."""

    promise = ""
    taken = 0

    @staticmethod
    def of(promise: str, what: str) -> "Broken":
        """Of a class of its own for each promise, so that hypothesis does not shrink one fault to another."""
        return _broken(promise)(f"{promise}: {what}")


@cache
def _broken(promise: str) -> type[Broken]:
    return type(f"Broken{promise}", (Broken,), {"promise": promise})


class Judge:
    """Sees all that happens; what is found is raised by `verdict`, at the end of the step."""

    def __init__(self, world: "World", promises: Collection[str]) -> None:
        self._world = world
        self._promises = tuple(promises)
        self._found: list[Broken] = []
        self._owed: list[Change] = []
        self._last_move = "-"
        self._asked: dict[str, tuple[float, str]] = {}
        """Uid → when its user last reached the store's knowledge, and by which caller."""
        self._accepted: dict[str, tuple[float, int]] = {}
        self._holders: dict[tuple[str, int], Process] = {}
        self._before_flush: set[tuple[str, str, int]] = set()
        """Tokens that processes had when the store was emptied."""
        self._changed_at: dict[str, float] = {}
        self._foreign: set[str] = set()
        """Uids whose link a foreign client has written."""
        self.flushes = 0
        self.epochs_may_fall = False

    # What happens

    def found(self, promise: str, what: str) -> None:
        """A promise is broken."""
        if promise.startswith(self._promises):
            self._found.append(Broken.of(promise, what))

    def changed(self, change: Change) -> None:
        """A link is another one now."""
        uid, before, after = change.uid, change.before, change.after
        script = ", ".join(change.scripts)
        if before[:2] != after[:2]:
            self._changed_at[uid] = self._world.now
        self._world.note(f"{uid}: {before} -> {after} by {change.who} {script}")
        if change.who == "foreign":
            self._foreign.add(uid)
        elif before.owner != after.owner:
            self._foreign.discard(uid)
        if change.who == TIME:
            self._expired(change)
        self._taken(change)
        if before.pod != after.pod or after.retained:
            self._accepted.pop(uid, None)
        if change.who in {TIME, "flush", "foreign", "clock"} or after.owner is None:
            self._asked.pop(uid, None)
        if change.moved:
            self._lost(change)
            if change.scripts:
                self._owed.append(change)

    def asked(self, uid: str, caller: str) -> None:
        """A user has been told her pod."""
        self._asked[uid] = (self._world.now, caller)

    def caller_disturbed(self, caller: str) -> None:
        """What was asked through it may not have reached the store."""
        self._asked = {uid: asked for uid, asked in self._asked.items() if asked[1] != caller}

    def operator_died(self) -> None:
        """Between moving and telling: nobody else knows what it has moved; pods find out by comparing."""
        self._owed = [change for change in self._owed if change.who != self._world.operator.name]

    def clock_stepped(self) -> None:
        """Times to live are other ones now, by nobody's fault."""
        self._asked.clear()
        self._accepted.clear()

    def accepted(self, process: "Process", uid: str) -> None:
        """A pod has said that it serves the user."""
        epoch = process.driver.token(uid)
        known = epoch is not None and self._world.links.names(uid, process.ordinal, epoch)
        if uid in process.leaving:
            process.leaving.discard(uid)
            self.found("I5a", f"{process.name} accepts {uid}, whom it is giving away")
        if known and uid not in self._foreign:  # else it has yet to hear what has become of the link
            self._accepted.setdefault(uid, (self._world.now, process.ordinal))

    def acknowledged(self, process: "Process", uid: str, update: int, admitted_at: float) -> None:
        """A user was told that an update is done; the request was admitted then."""
        epoch = process.driver.token(uid)
        if epoch is not None and self._world.links.names(uid, process.ordinal, epoch):
            process.trust.unsaved.setdefault(uid, []).append(update)
        elif process.undisturbed_since <= admitted_at <= process.released.get(uid, -1.0):
            self.found("I5c", f"{process.name} has released {uid} during a request; its update {update} is lost")

    def saved(self, process: "Process", uid: str) -> None:
        """The database has accepted what a process wrote."""
        there = set(self._world.database.updates(uid))
        left = [update for update in process.trust.unsaved.pop(uid, ()) if update not in there]
        if left:
            process.trust.unsaved[uid] = left

    def written(self, uid: str, version: Version, before: Sequence[Version]) -> None:
        """The database accepts a write."""
        for earlier in before:
            if earlier.epoch >= version.epoch and earlier.born > version.born:
                self.found("I2", f"{version.writer} writes {uid} after its successor {earlier.writer} has")

    def planned(self, process: "Process", began: float, how: str) -> None:
        """A planned end of a process, or its drain, is over: nothing that it has acknowledged may be lost."""
        if process.undisturbed_since > began:
            return
        for uid, updates in process.trust.unsaved.items():
            self.found("I5c", f"{how} of {process.name} is over; updates {updates} of {uid} were never saved")

    # After a step

    def verdict(self) -> None:
        """Look at everything, and raise what is wrong."""
        self._world.links.expire()
        for process in self._world.living():  # who is owned again is not given away any more
            process.leaving = {uid for uid in process.leaving if not process.driver.owns(uid)}
        self._judge_moves()
        self._judge_owners()
        self._judge_memory()
        if self._found:
            raise self._found[0]

    def settled(self) -> None:
        """All is connected, and has had the time to find out."""
        for process in self._world.living():
            current = self._world.current(process.ordinal) is process
            for uid, now in self._world.links.standing.items():
                if self._world.now - self._changed_at.get(uid, 0.0) < NOTICED_SECONDS:
                    continue
                mine = process.driver.owns(uid)
                named = now.owner == process.ordinal and now.epoch == process.driver.token(uid)
                if mine and not named:
                    self.found("I7a", f"{process.name} still believes to own {uid}, which is with {now}")
                elif mine and not current and self._world.current(process.ordinal) is not None:
                    self.found("I7b", f"{process.name} has a successor, and still believes to own {uid}: {now}")
                elif named and not mine and current and uid not in process.leaving:
                    self.found("I7c", f"{process.name} has the token of {uid} and does not believe in it")

    def _judge_moves(self) -> None:
        owed, self._owed = self._owed, []
        told, world = self._told(), self._world
        for change in owed:
            to = -1 if change.after.owner is None else change.after.owner
            before = change.before.owner
            if (before, change.uid, to) not in told and (-2, "", -1) not in told:
                goal = "nobody" if to < 0 else f"pod {to}"
                who = "a" if change.who.startswith("caller") else "b" if change.who == world.operator.name else "c"
                self.found(
                    f"I4{who}",
                    f"{change.who} ({', '.join(change.scripts)}) has taken {change.uid} off pod {before} to {goal}, "
                    "and the stream of moves does not say so",
                )

    def _told(self) -> set[tuple[int, str, int]]:
        """What the stream says since the last look."""
        world = self._world
        after = self._last_move if self._last_move == "-" else f"({self._last_move}"
        (entries,) = world.network.ask(("XRANGE", world.service.moves, after, "+"))
        told: set[tuple[int, str, int]] = set()
        for entry, flat in entries if isinstance(entries, list) else ():
            self._last_move = entry.decode()
            fields = dict(zip(flat[::2], flat[1::2], strict=True))
            if b"purged" in fields:
                told.add((-2, "", -1))
            for uid, to, _ in json.loads(fields.get(b"moves", b"[]")):
                told.add((int(fields[b"from"]), uid, int(to)))
        return told

    def emptied(self) -> None:
        """The store was emptied, and the stream with it."""
        self.flushes += 1
        self._last_move = "-"
        self._owed.clear()
        self._asked.clear()
        self._accepted.clear()
        for process in self._world.living():
            for uid in self._world.uids:
                if (epoch := process.driver.token(uid)) is not None:
                    self._before_flush.add((process.name, uid, epoch))

    def _judge_owners(self) -> None:
        world = self._world
        for uid in world.uids:
            sure = []
            for process in world.living():
                epoch = process.driver.token(uid)
                if epoch is None:
                    continue
                self._judge_token(process, uid, epoch)
                if process.driver.owns(uid) and world.links.names(uid, process.ordinal, epoch):
                    sure.append(process.name)
            if len(sure) > 1 and not self.epochs_may_fall:
                self.found("I1a", f"{' and '.join(sure)} own {uid}, and the fence lets them all pass")

    def _judge_token(self, process: "Process", uid: str, epoch: int) -> None:
        if (process.name, uid, epoch) in self._before_flush:
            return
        other = self._holders.setdefault((uid, epoch), process)
        if other is process or self.epochs_may_fall or not other.alive or other.driver.token(uid) != epoch:
            return
        promise = "I1c" if self.flushes else "I1b"
        self.found(promise, f"{other.name} and {process.name} have the same token of {uid}: ..{epoch % 10**7}")

    def _judge_memory(self) -> None:
        world = self._world
        for process in world.living():
            for uid, room in process.rooms.items():
                epoch = process.driver.token(uid)
                if epoch is None or not process.driver.owns(uid) or not world.links.names(uid, process.ordinal, epoch):
                    continue
                versions = world.database.versions(uid)[room.version :]
                others = [v for v in versions if v.writer != process.name and v.epoch < epoch]  # the same: I1b, I2
                if others and not self.epochs_may_fall:
                    self.found(
                        "I6b" if self.flushes else "I6a",
                        f"{process.name} owns {uid} by the newest token with what was version {room.version}; "
                        f"{others[-1].writer} has written version {others[-1].number}, and nobody has told",
                    )

    # Judging one change

    def _expired(self, change: Change) -> None:
        uid, before = change.uid, change.before
        if before.owner is None or uid in self._foreign:
            return
        now = self._world.now
        asked, _ = self._asked.get(uid, (-1e9, ""))
        if now - asked < KEEP_SHARE * self._world.setup.temporary_seconds:
            self.found("I3a", f"the link of {uid} expires, whose user has asked {now - asked:.1f} s ago")
        accepted, ordinal = self._accepted.get(uid, (1e9, -1))
        if ordinal == before.pod and now - accepted > ACCEPTED_SECONDS:
            self.found("I3b", f"the link of {uid} expires, whom pod {ordinal} has accepted {now - accepted:.1f} s ago")

    def _taken(self, change: Change) -> None:
        """A pod has taken a uid by accept()."""
        process = self._world.by_name(change.who)
        if process is None or change.after.pod != process.ordinal or change.before.pod == process.ordinal:
            return
        for asked in process.accepting.get(change.uid, ()):
            denies = {asked.state, process.driver.effective_state}.isdisjoint({RoutingState.READY, None})
            if denies and not asked.held:
                self.found(
                    "I5b", f"{process.name} is {asked.state} and takes {change.uid}, who was with {change.before}"
                )

    def _lost(self, change: Change) -> None:
        """A pod has lost a uid: by its own release, or by somebody else."""
        world, uid, before = self._world, change.uid, change.before
        for process in world.living():
            if process.ordinal != before.owner:
                continue
            began = world.drained_since(process)
            if change.who == process.name and uid in process.leaving:
                self._released(process, uid)
            elif change.who == world.operator.name and world.operator.drain_over and began is not None:
                self._left(process, began, uid)
            process.trust.unsaved.pop(uid, None)
            process.leaving.discard(uid)

    def _left(self, process: "Process", began: float, uid: str) -> None:
        updates = process.trust.unsaved.get(uid)
        if updates and process.undisturbed_since <= began:
            self.found("I5c", f"the drain of {process.name} is over; updates {updates} of {uid} were never saved")

    def _released(self, process: "Process", uid: str) -> None:
        process.released[uid] = self._world.now
        if updates := process.trust.unsaved.get(uid):
            self.found("I5c", f"{process.name} has released {uid}; updates {updates} were not saved before")
