"""Who gets the next uid: the strategies of `domain.placement`, and those of others, turn by turn."""

import random
import threading
from collections import Counter
from collections.abc import Callable, Sequence

from stateful_route.domain.errors import InvalidArgument, NoPodAvailable
from stateful_route.domain.names import shown
from stateful_route.domain.placement import Placement, Spread, Strategy, Target

ENTRY_POINTS = "stateful_route.strategies"
"""The group of entry points by which a package offers strategies of its own."""

Choice = Callable[[Sequence[Target]], int]
"""A strategy of one's own: the pods that take new uids, at least one, by index → the index of one of them."""

AnyStrategy = Strategy | str | Choice

WEIGHING_LOADS = frozenset({Strategy.GOOD_RANGE, Strategy.LEAST_LOAD})
_DEFAULTS = Placement()


def found_strategy(strategy: AnyStrategy) -> Strategy | Choice:
    """The strategy of a name: one of ours (`Strategy`), or an entry point of the group `ENTRY_POINTS`.

    An entry point names a `Choice`, or a class of them, of which an object is made for each balancer. A callable is
    taken as it is.

    Raises:
        InvalidArgument: there is none of that name.
    """
    if not isinstance(strategy, str):
        if callable(strategy):
            return strategy
        raise InvalidArgument(f"a strategy is a name or a function of the pods, not {shown(strategy)}")
    try:
        return Strategy(strategy)
    except ValueError:
        pass
    from importlib.metadata import entry_points  # takes long, and is seldom needed

    offered = entry_points(group=ENTRY_POINTS)
    for entry in offered.select(name=strategy):
        found = entry.load()
        choice: Choice = found() if isinstance(found, type) else found
        return choice
    names = ", ".join([*Strategy, *sorted(offered.names)])
    raise InvalidArgument(f"no strategy {shown(strategy)}; there are {names}")


class ChosenOne:
    """Targets one by one, as a `Choice` wants them; as `Spread`, which is for our own strategies."""

    def __init__(self, targets: Sequence[Target], choice: Choice, max_links: int = 0) -> None:
        self._targets = {target.ordinal: target for target in targets}
        self._choice = choice
        self._max_links = max_links

    def take(self) -> int | None:
        """The ordinal for the next link, or None: nobody is there, or all are full.

        Raises:
            InvalidArgument: the strategy has chosen what it was not offered.
        """
        limit = self._max_links
        offered = [target for target in self._targets.values() if limit <= 0 or target.links < limit]
        if not offered:
            return None
        ordinal = self._choice(offered)
        if all(ordinal != target.ordinal for target in offered):
            there_are = ", ".join(str(target.ordinal) for target in offered)
            raise InvalidArgument(f"the strategy has chosen pod {shown(ordinal)}, which is none of {there_are}")
        target = self._targets[ordinal]
        self._targets[ordinal] = target._replace(links=target.links + 1)
        return ordinal


def spread_over(
    targets: Sequence[Target], strategy: Strategy | Choice, placement: Placement, start: int = 0, at_least: int = 2
) -> Spread | ChosenOne:
    """Targets one by one, as the strategy wants it; ``placement`` has the rest: range, weights, limit."""
    if isinstance(strategy, Strategy):
        return Spread(targets, placement._replace(strategy=strategy), start, at_least)
    return ChosenOne(sorted(targets, key=lambda target: target.ordinal), strategy, placement.max_links)


class LoadBalancer:
    """Chooses a pod for one new uid after the other; may be shared by threads.

    It remembers whose turn it is, and what it has handed out since the pods' links were last counted, also when the
    pods change meanwhile. Several balancers that see the same pods begin at different ones.
    """

    def __init__(self, strategy: AnyStrategy = Strategy.GOOD_RANGE, start: int | None = None) -> None:
        """``start``: at whose turn it begins; None: at anybody's.

        Raises:
            InvalidArgument: there is no strategy of that name.
        """
        self.strategy = found_strategy(strategy)
        self._turn = random.randrange(2**16) if start is None else start  # noqa: S311  callers need not begin alike
        self._placed: Counter[int] = Counter()
        """Handed out since the pod's links were last counted."""
        self._given: Sequence[Target] = ()
        self._placement = _DEFAULTS
        self._relevant: Sequence[Target] = ()
        self._spread: Spread | ChosenOne = Spread((), _DEFAULTS)
        self._guard = threading.Lock()

    @property
    def name(self) -> str:
        """What the strategy is called."""
        strategy = self.strategy
        if isinstance(strategy, Strategy):
            return strategy.value
        return getattr(strategy, "__name__", type(strategy).__name__)

    def pick(self, targets: Sequence[Target], placement: Placement = _DEFAULTS) -> int:
        """The index of the pod for the next uid.

        Args:
            targets: The pods that take new uids.
            placement: The range, the weights and the limit; its strategy does not matter.

        Raises:
            NoPodAvailable: there is none, or all are full.
            InvalidArgument: a strategy of one's own has chosen what it was not offered.
        """
        with self._guard:
            if targets is not self._given or placement is not self._placement:
                self._renew(targets, placement)
            ordinal = self._spread.take()
            if ordinal is None:
                raise NoPodAvailable("all pods that take new uids are full" if targets else "no pod takes new uids")
            self._turn += 1
            self._placed[ordinal] += 1
            return ordinal

    def _renew(self, targets: Sequence[Target], placement: Placement) -> None:
        """A new order, if what the strategy goes by has changed; else the turns go on."""
        relevant = self._what_matters(targets, placement.max_links > 0)
        if relevant != self._relevant or placement != self._placement or not self._given:
            before = {target.ordinal: target.links for target in self._relevant}
            for target in relevant:
                if before.get(target.ordinal) != target.links:
                    del self._placed[target.ordinal]  # the count has those in it
            counted = [target._replace(links=target.links + self._placed[target.ordinal]) for target in relevant]
            self._spread = spread_over(counted, self.strategy, placement, self._turn, at_least=1)
        self._given, self._placement, self._relevant = targets, placement, relevant

    def _what_matters(self, targets: Sequence[Target], limited: bool) -> Sequence[Target]:
        """The targets without what the strategy does not go by: loads change all the time."""
        strategy = self.strategy
        if not isinstance(strategy, Strategy):
            return targets
        load, quick = strategy in WEIGHING_LOADS, strategy is Strategy.LEAST_RESPONSE_TIME
        links = limited or strategy is Strategy.LEAST_CONNECTIONS
        return [
            Target(
                ordinal=target.ordinal,
                load=target.load if load else 0.0,
                links=target.links if links else 0,
                **({"response_seconds": target.response_seconds} if quick else {}),
            )
            for target in targets
        ]
