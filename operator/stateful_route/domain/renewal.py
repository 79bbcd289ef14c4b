"""When a temporary link is renewed, and how long a caller may answer from memory without looking at it again.

A look at a link in the store renews it. An answer from memory renews nothing, so it must end at the moment from which
on somebody has to look. Both follow from one number, the cache's time ``C`` of a link that lives ``T``: a look renews a
link that has less than ``T - C/2`` left, and its answer may be given again until the link has ``T - C`` left. After
every answer, from the store or from memory, the link has at least ``T - C`` to live: a user who asks once in that time
keeps it, however many callers ask for the user and in whatever rhythm.
"""

from typing import NamedTuple

CACHED_SHARE = 5
"""An answer about a temporary link is cached for one fifth of the link's time at most: for 60 s of 300 s."""

BEFORE_THE_END_SECONDS = 1
"""An answer about a link that must end is not given in the link's last second: whoever gets it needs time to use it."""


class Renewal(NamedTuple):
    """How a caller renews and caches the links of a service.

    Attributes:
        seconds: How long a link lives that is made or renewed (``T``).
        cache_seconds: How long an answer about such a link is cached at most (``C``).
    """

    seconds: int
    cache_seconds: float

    @classmethod
    def of(cls, seconds: int, cache_seconds: float = float("inf")) -> "Renewal":
        """The renewal of links that live so many seconds; ``cache_seconds``: how long a caller would cache any link.

        For a time below 0, which stands for a persistent link, nothing is renewed.
        """
        return cls(seconds, max(0.0, min(cache_seconds, seconds / CACHED_SHARE)))

    @property
    def below_ms(self) -> int:
        """A look renews a link that has less than so many milliseconds left; 0: none is renewed."""
        return max(0, round(1000 * (self.seconds - self.cache_seconds / 2)))

    def cached_seconds(self, lives_ms: int) -> float:
        """How long an answer may be cached, from the moment at which the request was sent; 0: not at all.

        Args:
            lives_ms: How long the link lives after the look, in milliseconds. A link that has less left than
                `below_ms` was not renewed, so it is one that must end (a retained one): it is cached until a second
                before its end. One that has more left than ``seconds`` was made by somebody with another time to live:
                it is cached for `cache_seconds`, as if it had been renewed now.
        """
        spare = self.seconds - self.cache_seconds if lives_ms >= self.below_ms else BEFORE_THE_END_SECONDS
        return max(0.0, min(self.cache_seconds, lives_ms / 1000 - spare))
