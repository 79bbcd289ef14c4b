"""How hypothesis draws where a seed must draw the same in all versions of our source."""

from typing import Any

from hypothesis.internal.conjecture.providers import AVAILABLE_PROVIDERS, HypothesisProvider


class PlainProvider(HypothesisProvider):
    """Hypothesis's own draws, but for the numbers that it finds in our source: a seed outlives changes to it."""

    def _maybe_draw_constant(self, *_args: Any, **_options: Any) -> None:
        """None of them."""


PLAIN = "plain"
AVAILABLE_PROVIDERS[PLAIN] = f"{PlainProvider.__module__}.{PlainProvider.__qualname__}"
