"""What of a reply to TIME is a clock."""

import pytest

from stateful_route.domain.epoch import clock_ms

REPLIES = {
    "a server's": ([b"1796031649", b"912558"], 1_796_031_649_912),
    "as redis-py parses it": ((1796031649, 999_999), 1_796_031_649_999),
    "the microseconds of more than a second": ((1796031649, 1_000_000), None),
    "Envoy's": ([b"1796031649", b"1796031649912558"], None),
    "below zero": ((1796031649, -1), None),
    "no numbers": ([b"now", b"0"], None),
    "too many": ([1, 2, 3], None),
    "nothing": (None, None),
}


@pytest.mark.parametrize("whose", REPLIES)
def test_a_reply_to_time(whose):
    reply, ms = REPLIES[whose]
    assert clock_ms(reply) == ms
