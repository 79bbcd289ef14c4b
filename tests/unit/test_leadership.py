"""Who may lead and when: the rules of the Lease, with a clock that the test moves."""

import asyncio
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from kubernetes.aio.client.configuration import Configuration

from stateful_route.domain.leadership import (
    LeaseRecord,
    Rhythm,
    Sighting,
    free_in,
    given_back,
    renewed,
    sighted,
    taken,
)
from stateful_route.handlers.operator import App, Options
from stateful_route.kube.client import Kube, NotLeading
from stateful_route.kube.lease import account_namespace, lease_record
from stateful_route.reconcile.leadership import Leadership
from stateful_route.reconcile.watchdog import Watchdog

AT_ONCE = float("-inf")
START = datetime(2026, 11, 21, 10, tzinfo=UTC)
HELD = LeaseRecord("a", 15, 3, START, START, "7")

FREE = {
    "there is no Lease": (Sighting(None, 100), AT_ONCE),
    "nobody holds it": (Sighting(replace(HELD, holder=""), 100), AT_ONCE),
    "it bears my own name": (Sighting(replace(HELD, holder="me"), 100), AT_ONCE),
    "another holds it": (Sighting(HELD, 100), 115),
    "another holds it for longer than I would": (Sighting(replace(HELD, seconds=60), 100), 160),
    "it was deleted while another held it": (Sighting(HELD, 100, gone=True), 115),
    "it was deleted while I held it": (Sighting(replace(HELD, holder="me"), 100, gone=True), 115),
}


@pytest.mark.parametrize("case", FREE)
def test_when_it_may_be_taken(case):
    sighting, free_from = FREE[case]
    assert free_in(sighting, "me") == free_from


LATER = START + timedelta(seconds=5)
SIGHTINGS = {
    "the first look": (None, HELD, Sighting(HELD, 50)),
    "nothing has changed": (Sighting(HELD, 10), HELD, Sighting(HELD, 10)),
    "it was renewed": (
        Sighting(HELD, 10),
        replace(HELD, renewed=LATER, version="8"),
        Sighting(replace(HELD, renewed=LATER, version="8"), 50),
    ),
    "somebody has put a label on it, which renews nothing": (
        Sighting(HELD, 10),
        replace(HELD, version="8"),
        Sighting(replace(HELD, version="8"), 10),
    ),
    "it has gone": (Sighting(HELD, 10), None, Sighting(HELD, 50, gone=True)),
    "it is still gone": (Sighting(HELD, 10, gone=True), None, Sighting(HELD, 10, gone=True)),
    "it is back": (Sighting(HELD, 10, gone=True), HELD, Sighting(HELD, 50)),
    "there is none yet": (Sighting(None, 10), None, Sighting(None, 50)),
}


@pytest.mark.parametrize("case", SIGHTINGS)
def test_what_a_look_shows(case):
    before, record, after = SIGHTINGS[case]
    assert sighted(before, record, 50) == after


def test_a_clock_that_is_wrong_by_hours_does_not_matter():
    wrong = replace(HELD, renewed=START - timedelta(hours=9), acquired=START + timedelta(days=1))
    assert free_in(sighted(None, wrong, 100), "me") == 115


def test_whoever_takes_it_is_counted_and_writes_over_what_was_read():
    assert taken(None, "me", 15, LATER) == LeaseRecord("me", 15, 0, LATER, LATER, "")
    assert taken(HELD, "me", 20, LATER) == LeaseRecord("me", 20, 4, LATER, LATER, "7")


def test_a_renewal_is_the_same_term_and_a_second_process_of_the_same_name_is_another():
    mine = taken(HELD, "me", 15, START)
    assert renewed(mine, LATER).same_term(mine)
    assert renewed(mine, LATER).renewed == LATER
    assert not taken(mine, "me", 15, LATER).same_term(mine)


def test_given_back_it_is_free_at_once():
    empty = given_back(HELD, LATER)
    assert (empty.holder, empty.transitions, empty.version) == ("", 3, "7")
    assert free_in(Sighting(empty, 100), "me") == AT_ONCE


@pytest.mark.parametrize("seconds", [2, 3, 15, 60, 3600])
def test_a_leader_stops_well_before_another_may_begin_and_has_tried_more_than_once(seconds):
    rhythm = Rhythm(seconds)
    assert rhythm.give_up_seconds <= 2 * seconds / 3
    assert rhythm.renew_seconds + rhythm.note_seconds + rhythm.look_seconds < rhythm.give_up_seconds
    assert rhythm.again_seconds < rhythm.look_seconds < rhythm.renew_seconds


def test_the_durations_are_those_of_client_go():
    rhythm = Rhythm(15)
    assert (rhythm.give_up_seconds, rhythm.look_seconds, rhythm.renew_seconds) == (10, 2, 5)


def test_what_other_controllers_write_is_read():
    spec = {"holderIdentity": "x_1", "leaseDurationSeconds": 15, "acquireTime": "2026-11-21T10:00:00.000000Z"}
    assert lease_record({"metadata": {"resourceVersion": "9"}, "spec": spec}) == LeaseRecord(
        "x_1", 15, 0, START, None, "9"
    )
    assert lease_record({"metadata": {"resourceVersion": "9"}}) == LeaseRecord("", 0, 0, None, None, "9")


def test_the_namespace_is_that_of_the_pods_service_account(tmp_path):
    path = tmp_path / "namespace"
    assert account_namespace(path) is None
    path.write_text("routing\n")
    assert account_namespace(path) == "routing"


@pytest.fixture
async def kube():
    client = Kube(Configuration(host="http://127.0.0.1:1"))
    yield client
    await client.close()


@pytest.fixture
async def election(kube):
    return Leadership(kube, "routing", "stateful-route", Rhythm(15), "me")


@pytest.fixture
async def app(election, kube):
    return App(Options(), kube, Watchdog(time.monotonic, 90), election)


async def test_an_election_that_does_nothing_any_more_fails_the_probe_that_restarts_the_process(app, election):
    assert app.problem() is None
    election._beat_at -= Rhythm(15).dead_seconds + 1
    assert app.problem() == "the leader election has done nothing for 46 s"


async def test_work_that_has_ended_by_itself_fails_the_probe(app):
    app.serving = asyncio.create_task(asyncio.sleep(0))
    assert app.problem() is None
    await app.serving
    assert "has ended" in app.problem()


async def test_who_has_not_seen_the_lease_is_not_ready(app):
    assert app.readiness() == (False, "the Lease has not been looked at yet")


async def test_who_does_not_lead_writes_nothing_to_the_api_server(election):
    guarded = election.guarded()
    for write in (guarded.create("/x", {}), guarded.merge("/x", {}), guarded.delete("/x")):
        with pytest.raises(NotLeading, match="does not lead"):
            await write
