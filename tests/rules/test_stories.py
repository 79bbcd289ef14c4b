"""The shortest histories of faults that the search has found, each told in its name."""

import pytest

from rules.search import play
from rules.steps import Step
from rules.world import Setup

ALONE = Setup(pods=1)
FIVE, PLAIN = Setup(pods=5, libraries=(False, False)), Setup(libraries=(False, False))
KEEP = Setup(on_replace="Keep")

STORIES = {
    "a drained pod restarts and nobody else can take its users: it serves them as new": (
        ALONE,
        [Step("drain"), Step("sandbox")],
    ),
    "a drained pod restarts and all others are full: likewise": (
        Setup(pods=5, max_links=1, users=6),
        [Step("calm"), Step("drain", 1), Step("kill", 1)],
    ),
    "a kubelet's clock is set back before a container restarts without the pod ceasing to be Ready": (
        FIVE,
        [Step("kubelet clock", 0, 3), Step("resize", 0)],
    ),
    "a container of a pod that fails restarts while failovers are held back": (
        Setup(),
        [Step("node", 0, 0), Step("node", 1, 1), Step("time", 4), Step("node", 0)],
    ),
    "pods come whose predecessors had served, with Keep, while failovers are held back": (
        KEEP,
        [
            Step("all fail", 0, 3),
            Step("time", 2),
            Step("operator"),
            Step("scale", 0),
            Step("time", 4),
            Step("scale", 4),
            Step("time", 3),
            Step("operator"),
        ],
    ),
    "a successor comes while failovers are held back: its place counts, and its service goes on": (
        Setup(pods=2),
        [Step("all fail", 0, 1), Step("time", 1), Step("evict", 1)],
    ),
    "a pod was Ready before an operator came, and has just ceased to be": (
        Setup(),
        [Step("scale", 4, 3), Step("operator"), Step("time", 5), Step("probe", 2), Step("arrive"), Step("operator")],
    ),
    "an app speaks of itself before the API server tells of its pod": (
        Setup(),
        [Step("watch"), Step("scale", 4), Step("time", 3), Step("arrive"), Step("time", 5)],
    ),
    "an app says SHUTDOWN, and its pod does not answer for a moment": (
        Setup(pods=2),
        [Step("word", 0), Step("reach", 0)],
    ),
    "a pod serves since a restart that nobody saw, and all others are full": (
        Setup(pods=2, libraries=(True, True), max_links=2, users=4),
        [Step("operator"), Step("kill", 0), Step("time", 4), Step("leave", 0), Step("arrive"), Step("operator")],
    ),
}


@pytest.mark.parametrize("sentence", STORIES)
def test_all_promises_are_kept_when(sentence):
    setup, steps = STORIES[sentence]
    play(setup, steps)
