"""The search can fail: for each promise, a rule that is a little wrong breaks it in a history that is found."""

import pytest

from rules.search import search
from rules.steps import THEMES
from stateful_route.domain import lifecycle, service
from stateful_route.domain.cut import Cut
from stateful_route.domain.epoch import EPOCH_START_MS
from stateful_route.domain.incarnation import Container
from stateful_route.domain.lifecycle import Verdict
from stateful_route.domain.routing import LinkAction, Reason, RoutingState
from stateful_route.reconcile import ledger

FORGOTTEN = "no user stays for good on a pod that has forgotten her"
REASON = "no user of a healthy pod is moved without a reason of that pod"
BRAKE = "the brake holds whatever is added"
SERVED = "whoever can be served is served"

HISTORIES = 100
SEEDS = (1, 2, 3, 4, 5)


def without(rule):
    return tuple(each for each in lifecycle.RULES if each is not rule)


def the_cut_is_taken_from_a_kubelets_clock(patch):
    def by_clock(pod, record, state, issued, *, moves, live):
        started = pod.container.started_at
        return Cut(issued.highest + 1 if started is None else round(started * 1000) - EPOCH_START_MS)

    patch(ledger, "cut", by_clock)


def a_restart_is_seen_by_its_count_alone(patch):
    patch(Container, "follows", lambda *_: False)


def a_restart_loses_nothing(patch):
    patch(lifecycle, "RULES", without(lifecycle.lost_memory))


def all_links_of_a_restarted_pod_move(patch):
    patch(ledger, "cut", lambda _pod, _record, _state, issued, **_how: Cut(issued.highest + 1))


def nobody_waits_for_the_delay(patch):
    def at_once(at, policy):
        if at.pod is None or at.memory.unready_since is None or at.pod.terminating:
            return None
        return Verdict(RoutingState.SHUTDOWN, LinkAction.MOVE, Reason.UNREADY_TOO_LONG)

    rules = [at_once if rule is lifecycle.unready_too_long else rule for rule in lifecycle.RULES]
    patch(lifecycle, "RULES", tuple(rules))


def the_brake_counts_pods_that_were_added(patch):
    patch(service, "_counts", lambda at: at.pod is not None and not at.pod.finished and at.memory.served)


def there_is_no_brake(patch):
    patch(service, "_brake", lambda *_: {})


def successors_wait_for_others_for_ever(patch):
    patch(service, "_successors_stay", lambda *_: {})


LIVES, FAILING = THEMES[:2], THEMES[2:4]
MUTATIONS = {
    the_cut_is_taken_from_a_kubelets_clock: (FORGOTTEN, LIVES),
    a_restart_is_seen_by_its_count_alone: (FORGOTTEN, LIVES),
    a_restart_loses_nothing: (FORGOTTEN, LIVES),
    all_links_of_a_restarted_pod_move: (REASON, LIVES),
    nobody_waits_for_the_delay: (REASON, FAILING),
    the_brake_counts_pods_that_were_added: (BRAKE, FAILING),
    there_is_no_brake: (BRAKE, FAILING),
    successors_wait_for_others_for_ever: (SERVED, LIVES),
}


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.__name__)
def test_a_wrong_rule_is_found_out(mutation, monkeypatch):
    promise, themes = MUTATIONS[mutation]
    mutation(monkeypatch.setattr)
    searches = (search(seed, HISTORIES, promises=[promise], themes=themes, shorten=False) for seed in SEEDS)
    assert any(broken is not None for broken in searches)
