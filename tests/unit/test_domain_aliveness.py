"""Which pods callers may use: design §3 "Alive", row by row, and how a state record is read."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stateful_route.domain.aliveness import (
    Author,
    Heartbeat,
    PodView,
    ServiceState,
    foreign_word,
    is_alive,
    is_routable,
)
from stateful_route.domain.incarnation import Incarnation
from stateful_route.domain.record import OperatorRecord
from stateful_route.domain.routing import Reason, RoutingState

READY, DENY, SHUTDOWN = RoutingState
AUTO, REQUIRED, IGNORED = Heartbeat
EXPIRE = 60.0
FRESH, STALE = 59.9, 60.0
LIFE, FORMER = "pod-a/1", "pod-a/0"


def app(state=READY, life=LIFE):
    return ServiceState(0, state, 1, Author.APP, state, life)


def by_operator(state=READY):
    return ServiceState(0, state, 1, Author.OPERATOR)


def foreign(state=READY):
    return ServiceState(0, state, 1)


def record(state=READY, life=LIFE):
    return OperatorRecord(
        state=state, reason=Reason.READY, incarnation=Incarnation.parse(life) if life else None, ever_ready=True
    )


ALIVE = {
    # sentence: (state record, operator's record, age, {policies under which it is alive})
    "nothing is known of it": (None, None, None, set()),
    "the operator's record alone": (None, record(), None, {AUTO, IGNORED}),
    "a pod without the library": (by_operator(), record(), FRESH, {AUTO, IGNORED}),
    "a pod without the library, the operator is down": (by_operator(), record(), STALE, {AUTO, IGNORED}),
    "an app that has just published": (app(), record(), FRESH, {AUTO, REQUIRED, IGNORED}),
    "an app that has stopped publishing": (app(), record(), STALE, {IGNORED}),
    "the former incarnation's app has stopped publishing": (app(life=FORMER), record(), STALE, {AUTO, IGNORED}),
    "an app that does not know its incarnation has stopped publishing": (app(life=None), record(), STALE, {IGNORED}),
    "an app stopped publishing, and no pod was seen": (app(), record(life=None), STALE, {IGNORED}),
    "a foreign app publishes": (foreign(), record(), FRESH, {AUTO, REQUIRED, IGNORED}),
    "a foreign app has stopped publishing": (foreign(), record(), STALE, {AUTO, IGNORED}),
    "denying is alive": (app(DENY), record(DENY), FRESH, {AUTO, REQUIRED, IGNORED}),
    "the app shuts down": (app(SHUTDOWN), record(), FRESH, set()),
    "the operator says SHUTDOWN": (app(), record(SHUTDOWN), FRESH, set()),
    "the operator says SHUTDOWN of a pod without the library": (by_operator(), record(SHUTDOWN), FRESH, set()),
    "an app without an operator": (app(), None, FRESH, {AUTO, REQUIRED, IGNORED}),
    "a foreign app without an operator": (foreign(), None, FRESH, {AUTO, REQUIRED, IGNORED}),
    "a stale app without an operator": (app(), None, STALE, set()),
    "the operator's entry whose record is lost": (by_operator(), None, FRESH, set()),
    "a record that does not parse": (None, record(), None, {AUTO, IGNORED}),
}


@pytest.mark.parametrize("heartbeat", Heartbeat)
@pytest.mark.parametrize("sentence", ALIVE)
def test_alive(sentence, heartbeat):
    state, operators, age, policies = ALIVE[sentence]
    assert is_alive(PodView(state, operators, age), heartbeat, EXPIRE) is (heartbeat in policies)


FOREIGN_WORDS = {
    # sentence: (what stands there, the operator's layer, what it wrote last, the app's word before) → the word now
    "it says what nobody has written": ((SHUTDOWN, READY, READY, None), SHUTDOWN),
    "it has taken its word back": ((READY, READY, DENY, DENY), READY),
    "it echoes the operator": ((SHUTDOWN, SHUTDOWN, SHUTDOWN, None), None),
    "it echoes the operator, and had a word of its own": ((SHUTDOWN, SHUTDOWN, SHUTDOWN, DENY), DENY),
    "its own word was written over a milder one": ((SHUTDOWN, DENY, SHUTDOWN, SHUTDOWN), SHUTDOWN),
}


@pytest.mark.parametrize("sentence", FOREIGN_WORDS)
def test_a_foreign_clients_word_is_told_from_our_own(sentence):
    (there, layer, written, word), expected = FOREIGN_WORDS[sentence]
    view = PodView(foreign(there), replace(record(layer), written=written, app_word=word), FRESH)
    assert foreign_word(view) is expected


def test_without_a_record_a_foreign_clients_word_is_its_own():
    assert foreign_word(PodView(foreign(SHUTDOWN), None, FRESH)) is SHUTDOWN
    assert foreign_word(PodView(None, record(), None)) is None


EFFECTIVE = {
    "both READY": (app(), record(), READY, True),
    "the app denies": (app(DENY), record(), DENY, False),
    "the operator denies": (app(), record(DENY), DENY, False),
    "a foreign writer has written READY over SHUTDOWN": (foreign(), record(SHUTDOWN), SHUTDOWN, False),
    "no operator": (app(), None, READY, True),
    "no state record": (None, record(), READY, True),
    "nothing": (None, None, SHUTDOWN, False),
}


@pytest.mark.parametrize("sentence", EFFECTIVE)
def test_the_effective_state_is_the_more_severe_and_only_ready_is_routable(sentence):
    state, operators, effective, routable = EFFECTIVE[sentence]
    view = PodView(state, operators, FRESH)
    assert view.effective is effective
    assert is_routable(view, AUTO, EXPIRE) is routable


def test_a_ready_pod_that_is_not_alive_is_not_routable():
    assert not is_routable(PodView(app(), record(), STALE), AUTO, EXPIRE)


def text(**fields):
    return json.dumps({"state": 7, "routingState": "READY", "updateTime": 1_800_000_000_000} | fields)


PARSED = {
    "a foreign record": (text(), ServiceState(7, READY, 1_800_000_000_000)),
    "our app's": (text(app="READY", inc="u/0"), ServiceState(7, READY, 1_800_000_000_000, Author.APP, READY, "u/0")),
    "our app's word under the operator's": (
        text(routingState="SHUTDOWN", app="DENY_NEW_CALL"),
        ServiceState(7, SHUTDOWN, 1_800_000_000_000, Author.APP, DENY),
    ),
    "the operator's": (text(op=True), ServiceState(7, READY, 1_800_000_000_000, Author.OPERATOR)),
    "fields that we do not know": (text(zone="a"), ServiceState(7, READY, 1_800_000_000_000)),
    "without load and time": ('{"routingState": "READY"}', ServiceState(0, READY, 0)),
    "a load that is no integer": (text(state=7.5), ServiceState(7.5, READY, 1_800_000_000_000)),
    "null for our fields": (text(app=None, op=None, inc=None), ServiceState(7, READY, 1_800_000_000_000)),
    "an incarnation that is no text": (
        text(app="READY", inc=[]),
        ServiceState(7, READY, 1_800_000_000_000, Author.APP, READY),
    ),
    "no JSON": ("hello", None),
    "nothing": ("", None),
    "a list": ("[1]", None),
    "a number": ("1", None),
    "no routing state": ('{"state": 1}', None),
    "a routing state that is none": (text(routingState="BUSY"), None),
    "a routing state that is no text": (text(routingState={}), None),
    "a word that is none": (text(app="BUSY"), None),
    "a load that is no number": (text(state="much"), None),
    "a load without end": (text(state=float("inf")), None),
    "a load that is no number at all": (text(state=float("nan")), None),
    "a time without end": ('{"routingState": "READY", "updateTime": 1e999}', None),
    "a time that is null": (text(updateTime=None), None),
    "more brackets than anybody can read": ("[" * 100_000, None),
    "bytes that are no text": (b"\xff\xfe\x00", None),
}


@pytest.mark.parametrize("sentence", PARSED)
def test_a_state_record_is_read(sentence):
    raw, expected = PARSED[sentence]
    assert ServiceState.from_json(raw) == expected


JSON = st.sampled_from([None, True, False, 0, 1, -1.5, float("inf"), float("nan"), "", "7", "x", [], [1], {}, {"a": 1}])
JSON |= st.sampled_from(RoutingState)


@given(fields=st.dictionaries(st.sampled_from(["state", "routingState", "updateTime", "app", "op", "inc"]), JSON))
def test_whatever_is_read_can_be_judged(fields):
    state = ServiceState.from_json(json.dumps(fields))
    view = PodView(state, record(), None if state is None else FRESH)
    assert isinstance(is_alive(view, AUTO, EXPIRE), bool)


@given(raw=st.binary(max_size=40) | st.text(max_size=40))
def test_garbage_is_no_record(raw):
    assert ServiceState.from_json(raw) is None
