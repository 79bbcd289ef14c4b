"""What has become of a uid that a pod believes to own, by what stands in the store."""

import pytest

from stateful_route.domain.holding import Finding, StandingLink, find

ME = 3

FINDINGS = {
    # sentence: (the link that stands, whether it was persistent when it was last seen, what was found)
    "nothing has changed": (StandingLink(ME, persistent=True, epoch=7), True, Finding.SAME),
    "it has a time to live now": (StandingLink(ME, persistent=False, epoch=7), True, Finding.SAME),
    "it went away and came back": (StandingLink(ME, persistent=True, epoch=9), True, Finding.RENEWED),
    "the store was restored from a day ago": (StandingLink(ME, persistent=True, epoch=5), True, Finding.RENEWED),
    "a foreign client wrote it anew": (StandingLink(ME, persistent=True, epoch=None), True, Finding.UNINDEXED),
    "another pod has it": (StandingLink(0, persistent=True, epoch=9), True, Finding.ELSEWHERE),
    "another pod has it for a while": (StandingLink(0, persistent=False, epoch=9), True, Finding.ELSEWHERE),
    "a foreign client gave it to another pod": (StandingLink(0, persistent=True, epoch=None), True, Finding.ELSEWHERE),
    "the store has lost it": (None, True, Finding.LOST),
    "its time was over": (None, False, Finding.EXPIRED),
}


@pytest.mark.parametrize("sentence", FINDINGS)
def test_finding(sentence):
    link, persistent, finding = FINDINGS[sentence]
    assert find(ME, 7, link, persistent=persistent) is finding
