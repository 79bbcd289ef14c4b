"""When a link is renewed and how long an answer is cached: cases, and the promise over all rhythms of callers."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stateful_route.domain.renewal import Renewal

CASES = {
    "a link that was just made is cached for a fifth of its time": (300, 240, 300_000, 60),
    "one that was not renewed for a moment is cached less": (300, 240, 285_000, 45),
    "one that is a moment from being renewed is cached for half of it": (300, 240, 270_000, 30),
    "one that a look has not renewed must end, and is cached until a second before": (300, 240, 20_000, 19),
    "one that must end, but later, is cached no longer than any other": (300, 240, 200_000, 60),
    "one that has ended is not cached": (300, 240, 0, 0),
    "one with a longer time to live is cached as if it were one of ours": (300, 240, 3_600_000, 60),
    "who caches for less caches for less": (300, 10, 300_000, 10),
    "who caches nothing caches nothing": (300, 0, 300_000, 0),
    "a link that lives for seconds is cached for a part of a second": (1, 240, 1_000, 0.2),
}


@pytest.mark.parametrize("sentence", CASES)
def test_an_answer_is_cached(sentence):
    seconds, cache, lives_ms, expected = CASES[sentence]
    assert Renewal.of(seconds, cache).cached_seconds(lives_ms) == pytest.approx(expected)


BELOW = {
    "a link of 300 s when it has less than 270 s left": (300, 240, 270_000),
    "by who caches for 10 s, when it has less than 295 s left": (300, 10, 295_000),
    "by who caches nothing, always": (300, 0, 300_000),
    "never, if it is made for good": (-1, 240, 0),
}


@pytest.mark.parametrize("sentence", BELOW)
def test_a_look_renews(sentence):
    seconds, cache, below = BELOW[sentence]
    assert Renewal.of(seconds, cache).below_ms == below


@given(st.data())
def test_a_user_who_asks_once_in_the_links_time_less_the_caches_keeps_the_link(data):
    """A link on a server, and callers with a cache each, of whom any may be asked next, after any time within it."""
    seconds = data.draw(st.integers(1, 3600))
    callers = data.draw(
        st.lists(
            st.one_of(st.just(240.0), st.floats(0, 1000)).map(lambda cache: Renewal.of(seconds, cache)), min_size=1
        )
    )
    pause = seconds - max(caller.cache_seconds for caller in callers)
    steps = st.tuples(st.integers(0, len(callers) - 1), st.floats(0, 1), st.floats(0, 1))
    now, ends, known = 0.0, float(seconds), [-math.inf] * len(callers)
    for asked, share, shorter in data.draw(st.lists(steps, max_size=60)):
        now += share * pause
        assert now < ends + 1e-3, "the link has expired, although the user has asked in time"
        if now < known[asked]:
            continue  # answered from memory
        left = (ends - now) * 1000
        if left < callers[asked].below_ms:
            left = seconds * 1000
            ends = now + seconds
        known[asked] = now + callers[asked].cached_seconds(int(left)) * (1 - 0.1 * shorter)


@given(st.integers(1, 10**6), st.floats(0, 10**6), st.integers(0, 10**10))
def test_no_cached_answer_outlives_the_link_or_the_moment_at_which_somebody_must_renew(seconds, cache, lives_ms):
    renewal = Renewal.of(seconds, cache)
    cached = renewal.cached_seconds(lives_ms)
    assert 0 <= cached <= min(renewal.cache_seconds, lives_ms / 1000)
    if lives_ms >= renewal.below_ms:
        assert lives_ms / 1000 - cached >= seconds - renewal.cache_seconds - 1e-6
