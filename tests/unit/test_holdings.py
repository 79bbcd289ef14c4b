"""What a pod owns, from memory: the lease, what the app does, and what the store says meanwhile."""

import threading
from collections import Counter

import pytest

from stateful_route.domain.errors import StoreUnavailable
from stateful_route.drivers.holdings import Holdings


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def holdings(clock):
    """With a lease for a minute."""
    made = Holdings(len, clock)
    made.renew(clock.now, 60)
    return made


def take(holdings, uid, epoch, *, persistent=True):
    with holdings.act(uid) as act:
        act.take(epoch, persistent=persistent)
    return act


# The lease


def test_without_a_lease_nothing_is_owned(clock):
    holdings = Holdings(len, clock)
    take(holdings, "ada", 7)
    assert not holdings.owns("ada")
    assert holdings.token("ada") == 7


def test_what_was_taken_is_owned(holdings):
    take(holdings, "ada", 7)
    assert holdings.owns("ada")
    assert not holdings.owns("bob")
    assert (holdings.token("ada"), holdings.token("bob")) == (7, None)


def test_the_moment_the_lease_lapses_nothing_is_owned(holdings, clock):
    take(holdings, "ada", 7)
    clock.now += 59.999
    assert holdings.owns("ada")
    clock.now += 0.001
    assert not holdings.owns("ada")
    assert holdings.seconds_left <= 0


def test_the_lease_runs_from_when_the_state_was_sent_not_from_when_it_was_answered(holdings, clock):
    take(holdings, "ada", 7)
    asked = clock.now
    clock.now += 50
    assert not holdings.renew(asked, 60)
    clock.now += 10
    assert not holdings.owns("ada")


def test_a_lease_that_is_renewed_in_time_goes_on(holdings, clock):
    take(holdings, "ada", 7)
    for _ in range(10):
        clock.now += 30
        assert not holdings.renew(clock.now, 60)
        assert holdings.owns("ada")


def test_a_lease_is_not_shortened(holdings, clock):
    holdings.renew(clock.now, 10)
    assert holdings.seconds_left == 60


def test_after_a_lapse_each_uid_must_be_seen_in_the_store_first(holdings, clock):
    take(holdings, "ada", 7)
    take(holdings, "bob", 8)
    clock.now += 60
    assert holdings.renew(clock.now, 60), "it had lapsed"
    assert not holdings.owns("ada")
    assert holdings.token("ada") == 7
    with holdings.watch() as watch:
        assert watch.put("ada", holdings.held("ada"), 7, persistent=True)
    assert holdings.owns("ada")
    assert not holdings.owns("bob")


def test_a_process_that_slept_over_the_end_of_its_lease_notices(holdings, clock):
    """The state was sent in time; the process was frozen, and read the answer when the lease had long lapsed."""
    take(holdings, "ada", 7)
    asked = clock.now + 59
    clock.now += 200
    assert holdings.renew(asked, 60)
    assert not holdings.owns("ada")


def test_what_was_asked_for_before_a_lapse_is_not_owned_after_it(holdings, clock):
    with holdings.act("ada") as act:
        clock.now += 60
        holdings.renew(clock.now, 60)
        act.take(7, persistent=True)
    assert not holdings.owns("ada")


def test_the_end_is_the_end(holdings):
    take(holdings, "ada", 7)
    holdings.end()
    assert not holdings.owns("ada")
    assert holdings.token("ada") is None
    assert len(holdings) == 0


# What is heard while the app acts


def test_a_message_that_comes_before_the_answer_is_not_forgotten(holdings):
    """The link was set with epoch 7, then moved off with 9; the message was quicker than the answer."""
    with holdings.act("ada") as act:
        assert not holdings.left("ada", 9)
        act.take(7, persistent=True)
    assert not holdings.owns("ada")
    assert act.uncertain


def test_a_message_about_an_older_link_changes_nothing(holdings):
    with holdings.act("ada") as act:
        holdings.left("ada", 6)
        act.take(7, persistent=True)
    assert holdings.owns("ada")
    assert not holdings.left("ada", 6)
    assert holdings.owns("ada")


def test_what_has_left_is_not_owned(holdings):
    take(holdings, "ada", 7)
    assert holdings.left("ada", 7), "released with this very epoch"
    assert not holdings.owns("ada")
    assert not holdings.left("ada", 7)


def test_an_older_answer_does_not_undo_a_newer_one(holdings):
    take(holdings, "ada", 9)
    act = take(holdings, "ada", 7)
    assert holdings.token("ada") == 9
    assert act.uncertain


@pytest.mark.parametrize("maybe_written", [True, False])
def test_what_came_of_a_call_that_failed_is_uncertain_unless_it_is_certain(holdings, maybe_written):
    act = holdings.act("ada")
    with pytest.raises(StoreUnavailable), act:
        raise StoreUnavailable("away", maybe_written=maybe_written)
    assert act.uncertain is maybe_written


def test_what_came_of_a_call_that_was_cancelled_is_uncertain(holdings):
    act = holdings.act("ada")
    with pytest.raises(KeyboardInterrupt), act:
        raise KeyboardInterrupt
    assert act.uncertain


# What is found while something else is heard


def test_a_look_at_the_store_counts_where_nothing_else_was_heard(holdings):
    take(holdings, "ada", 7)
    with holdings.watch() as watch:
        before = holdings.held("ada")
        assert watch.put("ada", before, 9, persistent=False)
        assert watch.put("bob", None, 8, persistent=True)
    assert (holdings.token("ada"), holdings.token("bob")) == (9, 8)
    with holdings.watch() as watch:
        assert watch.drop("ada", holdings.held("ada"))
    assert not holdings.owns("ada")


HEARD = {
    "the app takes it": lambda holdings: take(holdings, "ada", 9),
    "a message says that it left": lambda holdings: holdings.left("ada", 9),
    "a message says that it left, of what was not held": lambda holdings: holdings.left("bob", 9),
    "it is being given away": lambda holdings: holdings.leave("ada"),
    "the app has tried something": lambda holdings: holdings.act("bob").__enter__(),
    "the app drops it": lambda holdings: holdings.drop("ada"),
}


@pytest.mark.parametrize("sentence", HEARD)
def test_what_is_heard_during_a_look_is_newer_than_the_look(sentence, holdings):
    take(holdings, "ada", 7)
    uid = "bob" if "not held" in sentence or "tried" in sentence else "ada"
    with holdings.watch() as watch:
        before = holdings.held(uid)
        HEARD[sentence](holdings)
        after = holdings.held(uid)
        assert not watch.put(uid, before, 8, persistent=True)
        if before is not None:
            assert not watch.drop(uid, before)
    assert holdings.held(uid) is after


def test_a_look_does_not_count_for_what_the_app_had_begun_before(holdings):
    with holdings.act("ada"), holdings.watch() as watch:
        assert not watch.put("ada", None, 8, persistent=True)


# Giving away


def test_what_is_leaving_is_not_owned_but_its_token_is_known(holdings):
    take(holdings, "ada", 7)
    leaving = holdings.leave("ada")
    assert not holdings.owns("ada")
    assert holdings.token("ada") == 7
    assert holdings.leave("ada") is None, "it leaves already"
    holdings.stay("ada", leaving)
    assert holdings.owns("ada")


def test_what_is_leaving_is_not_taken_again(holdings):
    take(holdings, "ada", 7)
    holdings.leave("ada")
    assert take(holdings, "ada", 9).uncertain
    assert holdings.token("ada") == 7
    assert not holdings.owns("ada")


def test_what_is_taken_since_another_epoch_is_stale_until_the_app_was_told(holdings):
    take(holdings, "ada", 7)
    take(holdings, "ada", 9)
    assert not holdings.owns("ada")
    assert holdings.leave("ada") is None, "its memory is old, it must not be saved"
    holdings.loaded("ada", 7)
    assert not holdings.owns("ada"), "an earlier word"
    holdings.loaded("ada", 9)
    assert holdings.owns("ada")


def test_a_request_is_let_in_while_the_uid_is_kept_and_counted_until_it_ends(holdings):
    assert not holdings.begin_request("ada")
    take(holdings, "ada", 7)
    assert holdings.begin_request("ada")
    assert holdings.begin_request("ada")
    ended = []
    assert not holdings.when_idle("ada", lambda: ended.append(True))
    holdings.leave("ada")
    assert not holdings.begin_request("ada")
    holdings.end_request("ada")
    assert not ended
    holdings.end_request("ada")
    assert ended == [True]
    assert holdings.when_idle("ada", lambda: ended.append(True))
    assert ended == [True]


def test_a_temporary_link_is_owned_but_not_kept(holdings):
    take(holdings, "ada", 7, persistent=False)
    assert holdings.owns("ada")
    assert not holdings.keeps("ada")
    assert not holdings.begin_request("ada")


def test_nothing_leaves_that_is_not_owned(holdings, clock):
    assert holdings.leave("ada") is None
    take(holdings, "ada", 7)
    clock.now += 60
    assert holdings.leave("ada") is None, "somebody else may have it: it must not be saved"


# Portions


def test_the_uids_come_bucket_by_bucket_each_once(holdings):
    uids = [letter * length for length in (1, 2, 3) for letter in "abcdefg"]
    for epoch, uid in enumerate(uids):
        take(holdings, uid, epoch)
    portions = list(holdings.portions(5))
    assert [len(portion) for portion in portions] == [5, 5, 5, 5, 1]
    together = [uid for portion in portions for uid in portion]
    assert sorted(together) == sorted(uids)
    assert [len(uid) for uid in together] == sorted(len(uid) for uid in uids)


def test_what_is_dropped_leaves_no_bucket_behind(holdings):
    take(holdings, "ada", 7)
    holdings.drop("ada")
    assert list(holdings.portions(5)) == []
    assert holdings.drop("ada") is None


def test_many_threads_take_and_lose_and_nothing_is_left_over(holdings):
    wrong = Counter()

    def work(number):
        for turn in range(300):
            uid = f"{number}-{turn % 7}"
            take(holdings, uid, turn)
            wrong["not owned"] += not holdings.owns(uid)
            wrong["not left"] += not holdings.left(uid, turn)

    def look(stop):
        while not stop.is_set():
            with holdings.watch() as watch:
                for uid in holdings.uids():
                    before = holdings.held(uid)
                    if before is not None:
                        watch.put(uid, before, before.epoch, persistent=True)

    stop = threading.Event()
    workers = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    looker = threading.Thread(target=look, args=(stop,))
    for thread in (*workers, looker):
        thread.start()
    for thread in workers:
        thread.join()
    stop.set()
    looker.join()
    assert +wrong == Counter()
    assert len(holdings) == 0
    assert list(holdings.portions(10)) == []
