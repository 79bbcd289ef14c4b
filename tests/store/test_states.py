"""Service states: what apps, foreign clients and the operator say of a pod, merged in Redis, and who is told."""

import json
from dataclasses import replace

import pytest

from stateful_route.domain.aliveness import Author
from stateful_route.domain.errors import InvalidArgument, Replaced, StoreRejected
from stateful_route.domain.incarnation import Incarnation
from stateful_route.domain.record import OperatorRecord
from stateful_route.domain.routing import LinkAction, Reason, RoutingState
from stateful_route.store.states import (
    PODS_PER_CALL,
    STREAM_LENGTH,
    Publication,
    claim,
    get_service,
    publish_state,
    remove_states,
    set_operator_states,
    set_state,
)

READY, DENY, SHUTDOWN = RoutingState
OWNER = "cluster/route"
LIFE = Incarnation("pod-a", 1)
REASONS = {READY: Reason.READY, DENY: Reason.TERMINATING, SHUTDOWN: Reason.UNREADY_TOO_LONG}


def decision(state=READY, **fields):
    return OperatorRecord(
        **({"state": state, "reason": REASONS[state], "incarnation": LIFE, "ever_ready": True} | fields)
    )


@pytest.fixture
async def owned(store, service):
    """The service belongs to the operator, whose id this is."""
    await claim(store, service, OWNER, {"heartbeat": "Auto"})
    return OWNER


@pytest.fixture
def say(store, service, owned):
    """The operator says something of pod 0; gives the record that the script wrote."""

    async def operator_says(state=READY, **fields):
        written = await set_operator_states(store, service, owned, {0: decision(state, **fields)})
        return written.records[0]

    return operator_says


@pytest.fixture
def foreign(raw, service):
    """A foreign client writes pod 0's state record: our usual one with other fields, or any text."""

    async def writes(text=None, /, **fields):
        record = {"state": 7, "routingState": "READY", "updateTime": 1_700_000_000_000} | fields
        await raw.hset(service.states, 0, text or json.dumps(record))
        return await raw.hget(service.states, "0")

    return writes


@pytest.fixture
def main(raw, service):
    """Pod 0's record in the main hash, as a foreign reader sees it."""

    async def record():
        return json.loads(await raw.hget(service.states, "0"))

    return record


@pytest.fixture
def changes(raw, service):
    """The change stream: (pod, from, to, reason) of each entry."""

    async def entries():
        return [
            tuple(f[name] for name in ("pod", "from", "to", "reason")) for _, f in await raw.xrange(service.changes)
        ]

    return entries


async def server_ms(raw):
    seconds, micros = await raw.time()
    return seconds * 1000 + micros // 1000


# What an app publishes


async def test_an_unknown_service_has_no_pods(store, service):
    view = await get_service(store, service)
    assert (view.owner, dict(view.pods), view.unparsable) == (None, {}, frozenset())


async def test_a_published_state_is_read_back(store, raw, service):
    before = await server_ms(raw)
    assert await set_state(store, service, 0, READY, load=12.5, incarnation="pod-a/1") is READY
    view = await get_service(store, service)
    state = view.pods[0].state
    assert (state.load, state.routing_state, state.author, state.word) == (12.5, READY, Author.APP, READY)
    assert state.incarnation == "pod-a/1"
    assert before <= state.update_time <= view.time_ms
    assert view.pods[0].record is None
    assert 0 <= view.pods[0].age_seconds < 5


async def test_a_foreign_reader_finds_the_three_fields_that_it_knows(store, service, main):
    await set_state(store, service, 0, DENY, load=3)
    record = await main()
    assert (record["state"], record["routingState"]) == (3, "DENY_NEW_CALL")
    assert isinstance(record["updateTime"], int)


async def test_the_server_stamps_the_time_not_the_writer(store, raw, service, main):
    before = await server_ms(raw)
    await set_state(store, service, 0, READY)
    assert before <= (await main())["updateTime"] <= await server_ms(raw)


@pytest.mark.parametrize("load", [float("nan"), float("inf"), float("-inf")])
async def test_a_load_that_is_no_number_is_refused_before_anything_is_sent(load, service, connect):
    with pytest.raises(InvalidArgument):
        await set_state(connect("redis://127.0.0.1:1"), service, 0, READY, load=load)


async def test_a_pod_that_is_none_is_refused_before_anything_is_sent(service, connect):
    with pytest.raises(InvalidArgument):
        await set_state(connect("redis://127.0.0.1:1"), service, -1, READY)


AGES = {"a minute ago": (-60_000, 60), "this moment": (0, 0), "in the future": (+60_000, 0)}


@pytest.mark.parametrize("when", AGES)
async def test_a_record_is_aged_by_the_servers_clock(when, store, raw, service, foreign):
    offset, age = AGES[when]
    await foreign(updateTime=await server_ms(raw) + offset)
    assert (await get_service(store, service)).pods[0].age_seconds == pytest.approx(age, abs=5)


NO_PODS = ["", "-1", "x", "1.5", "01", "+1", "8192", "9" * 5000, "１"]  # noqa: RUF001  a wide one


async def test_a_field_that_is_no_pod_index_is_none_of_ours(store, raw, service):
    for field in NO_PODS:
        await raw.hset(service.states, field, '{"routingState": "READY"}')
    await raw.hset(service.states, "8191", '{"routingState": "READY"}')
    view = await get_service(store, service)
    assert list(view.pods) == [8191]
    assert view.unparsable == frozenset()


# Layers: what each says, what callers see


LAYERS = {
    # sentence: (what the app says through us, what the operator says, what callers see)
    "both READY": (READY, READY, READY),
    "the app denies": (DENY, READY, DENY),
    "the app shuts down": (SHUTDOWN, READY, SHUTDOWN),
    "the operator denies": (READY, DENY, DENY),
    "the operator shuts it down": (READY, SHUTDOWN, SHUTDOWN),
    "the app more severely than the operator": (SHUTDOWN, DENY, SHUTDOWN),
    "the operator more severely than the app": (DENY, SHUTDOWN, SHUTDOWN),
}


@pytest.mark.parametrize("life", ["", "pod-a/1"], ids=["without incarnation", "with incarnation"])
@pytest.mark.parametrize("sentence", LAYERS)
async def test_the_effective_state_is_the_more_severe_whoever_writes_last(sentence, life, store, service, say, main):
    app, operator, seen = LAYERS[sentence]
    await set_state(store, service, 0, app, incarnation=life)
    record = await say(operator)
    assert (record.app_word, record.written) == (app, seen)
    assert ((await main())["routingState"], (await main())["app"]) == (seen, app)
    assert await set_state(store, service, 0, app, incarnation=life) is seen
    assert ((await main())["routingState"], (await main())["app"]) == (seen, app)
    record = await say(READY)
    assert (record.app_word, record.written) == (app, app)
    assert (await main())["routingState"] == app


@pytest.mark.parametrize("sentence", LAYERS)
async def test_a_foreign_apps_state_is_its_word(sentence, say, foreign, main):
    app, operator, seen = LAYERS[sentence]
    await foreign(routingState=app)
    record = await say(operator)
    assert (record.app_word, record.written) == (app, seen)
    assert (await main())["routingState"] == seen
    record = await say(READY)
    assert (record.app_word, record.written) == (app, app)
    assert (await main())["routingState"] == app


async def test_a_pod_without_the_library_gets_an_entry_of_the_operator(store, raw, service, say, main):
    before = await server_ms(raw)
    record = await say(READY)
    assert (record.app_word, record.written) == (None, READY)
    entry = await main()
    assert entry == {"state": 0, "routingState": "READY", "updateTime": entry["updateTime"], "op": True}
    assert before <= entry["updateTime"] <= await server_ms(raw)
    assert (await get_service(store, service)).pods[0].state.author is Author.OPERATOR


async def test_the_operators_own_entry_is_refreshed_at_each_write(say, main, next_millisecond):
    await say(READY)
    before = (await main())["updateTime"]
    await next_millisecond()
    record = await say(DENY)
    assert (await main())["updateTime"] > before
    assert record.app_word is None
    assert (await say(READY)).written is READY


async def test_an_apps_first_state_takes_the_operators_entry_over(store, service, say, main):
    await say(DENY)
    assert await set_state(store, service, 0, READY) is DENY
    record = await main()
    assert (record["routingState"], record["app"]) == ("DENY_NEW_CALL", "READY")
    assert "op" not in record


async def test_a_foreign_apps_first_state_takes_the_operators_entry_over(say, foreign, main):
    await say(READY)
    await foreign(routingState="DENY_NEW_CALL")
    assert (await say(READY)).app_word is DENY
    assert (await main())["routingState"] == "DENY_NEW_CALL"


async def test_our_own_shutdown_read_back_is_no_word_of_a_foreign_app(say, foreign, main):
    await foreign(routingState="READY")
    for _ in range(3):
        record = await say(SHUTDOWN)
        assert (record.app_word, record.written) == (READY, SHUTDOWN)
        await foreign(routingState="SHUTDOWN", state=8)  # it reads its record, changes the load, and writes it back
    assert (await say(READY)).written is READY
    assert (await main())["routingState"] == "READY"


async def test_a_foreign_apps_own_denial_is_remembered_under_our_shutdown(say, foreign, main):
    await foreign(routingState="DENY_NEW_CALL")
    await say(SHUTDOWN)
    await say(SHUTDOWN)
    assert (await say(READY)).written is DENY
    await foreign(routingState="READY")
    assert (await say(READY)).written is READY
    assert (await main())["routingState"] == "READY"


async def test_a_foreign_apps_shutdown_stands_while_the_operator_says_less(say, foreign, main):
    await foreign(routingState="READY")
    await say(DENY)
    await foreign(routingState="SHUTDOWN")
    for _ in range(2):
        record = await say(DENY)
        assert (record.app_word, record.written) == (SHUTDOWN, SHUTDOWN)
    assert (await main())["routingState"] == "SHUTDOWN"


@pytest.mark.parametrize("operator", [DENY, SHUTDOWN])
async def test_a_ready_heartbeat_over_the_operators_state_is_corrected(operator, store, service, say, foreign, main):
    await foreign(routingState="READY")
    await say(operator)
    await foreign(routingState="READY")
    assert (await get_service(store, service)).pods[0].effective is operator
    await say(operator)
    assert (await main())["routingState"] == operator


UNTOUCHED = {
    "compact": '{"state":7,"routingState":"READY","updateTime":1700000000001}',
    "spaced": '{ "updateTime" : 1700000000001 , "routingState"  :  "READY" , "state" : 7.50 }',
    "of an app of ours": '{"app":"READY","routingState":"READY","state":7,"updateTime":1700000000001,"inc":"pod-a/1"}',
    "with a number that Lua cannot hold": '{"routingState":"READY","updateTime":1,"big":12345678901234567890}',
    "with lists and nulls that Lua would lose": '{"routingState":"READY","updateTime":1,"empty":[],"none":null,"e":{}}',
    "with a text that looks like it": '{"routingState":"READY","updateTime":1,"note":"\\"routingState\\":\\"READY\\""}',
    "with unicode": '{"routingState":"READY","updateTime":1,"zone":"玩家"}',
    "without a time": '{"routingState":"READY"}',
}


@pytest.mark.parametrize("sentence", UNTOUCHED)
async def test_in_a_record_that_is_not_the_operators_only_the_routing_state_is_changed(
    sentence, raw, service, say, foreign
):
    text = await foreign(UNTOUCHED[sentence])
    await say(READY)
    assert await raw.hget(service.states, "0") == text
    await say(DENY)
    expected = text.replace('"READY"', '"DENY_NEW_CALL"') if '"app"' not in text else None
    if expected is None:
        expected = text.replace('"routingState":"READY"', '"routingState":"DENY_NEW_CALL"')
    assert await raw.hget(service.states, "0") == expected
    await say(READY)
    assert await raw.hget(service.states, "0") == text


async def test_a_record_that_names_a_routing_state_twice_is_changed_at_its_top(say, foreign, main):
    await foreign('{"routingState":"READY","updateTime":1700000000001,"before":{"routingState":"READY"}}')
    await say(DENY)
    assert await main() == {
        "routingState": "DENY_NEW_CALL",
        "updateTime": 1_700_000_000_001,
        "before": {"routingState": "READY"},
    }


GARBAGE = {
    "no JSON": "hello",
    "a list": "[1]",
    "a number": "5",
    "null": "null",
    "no routing state": '{"state": 1}',
    "a routing state that is none": '{"routingState": "BUSY"}',
    "a routing state that is null": '{"routingState": null}',
    "a routing state that is a record": '{"routingState": {}}',
    "a word that is none": '{"routingState": "READY", "app": "BUSY"}',
    "a word that is a record": '{"routingState": "READY", "app": {}}',
    "a time that is none": '{"routingState": "READY", "updateTime": "noon"}',
    "a time that is null": '{"routingState": "READY", "updateTime": null, "app": "READY"}',
    "a time without end": '{"routingState": "READY", "updateTime": 1e999}',
    "a load that is none": '{"routingState": "READY", "state": "much"}',
    "a load that is a record": '{"routingState": "READY", "state": {}}',
    "more brackets than anybody can read": "[" * 20_000,
}


@pytest.mark.usefixtures("owned")
@pytest.mark.parametrize("sentence", GARBAGE)
async def test_a_record_that_does_not_parse_is_flagged_and_left_and_the_other_pods_are_written(
    sentence, store, raw, service, foreign
):
    text = await foreign(GARBAGE[sentence])
    written = await set_operator_states(store, service, OWNER, {0: decision(DENY), 1: decision(READY)})
    assert written.unparsable == {0}
    assert {ordinal: record.state for ordinal, record in written.records.items()} == {0: DENY, 1: READY}
    assert await raw.hget(service.states, "0") == text
    view = await get_service(store, service)
    assert view.unparsable == {0}
    assert view.pods[0].effective is DENY
    assert view.pods[1].effective is READY


@pytest.mark.parametrize("sentence", GARBAGE)
async def test_an_apps_next_state_replaces_what_does_not_parse(sentence, store, service, foreign):
    await foreign(GARBAGE[sentence])
    assert await set_state(store, service, 0, READY) is READY
    assert (await get_service(store, service)).unparsable == frozenset()


ODD_BUT_GOOD = {
    "null for our fields": '{"routingState": "READY", "updateTime": 1, "app": null, "op": null, "inc": null}',
    "a time in quotes": '{"routingState": "READY", "updateTime": "1700000000000", "app": "READY"}',
    "an incarnation that is no text": '{"routingState": "READY", "updateTime": 1, "app": "READY", "inc": []}',
    "op that is not true": '{"routingState": "READY", "updateTime": 1, "op": 0}',
}


@pytest.mark.parametrize("sentence", ODD_BUT_GOOD)
async def test_an_odd_record_is_read_alike_by_script_and_library(sentence, store, service, say, foreign, main):
    await foreign(ODD_BUT_GOOD[sentence])
    before = await main()
    assert (await say(DENY)).app_word is READY
    view = await get_service(store, service)
    assert view.unparsable == frozenset()
    assert view.pods[0].state.author is not Author.OPERATOR
    assert await main() == before | {"routingState": "DENY_NEW_CALL"}


@pytest.mark.parametrize("text", ["hello", "[]", '{"state":"BUSY","reason":"Ready"}', '{"reason":"Ready"}', "5"])
async def test_an_operators_record_that_somebody_else_wrote_is_none_and_written_anew(text, store, raw, service, say):
    await raw.hset(service.records, "0", text)
    assert (await get_service(store, service)).pods[0].record is None
    assert (await say(READY)).written is READY
    assert (await get_service(store, service)).pods[0].record.state is READY


# Lives of a pod


NEXT_LIFE = {"restarted": Incarnation("pod-a", 2), "replaced": Incarnation("pod-b", 0)}


@pytest.mark.parametrize("how", NEXT_LIFE)
@pytest.mark.parametrize("life", ["", "pod-a/1"], ids=["without incarnation", "with incarnation"])
async def test_when_the_incarnation_changes_the_former_apps_word_is_dropped(
    *, life, how, store, service, say, main, next_millisecond
):
    await say(READY)
    await set_state(store, service, 0, SHUTDOWN, incarnation=life)
    assert (await say(READY)).written is SHUTDOWN
    await next_millisecond()
    record = await say(READY, incarnation=NEXT_LIFE[how])
    assert (record.app_word, record.written) == (None, READY)
    assert (await main())["routingState"] == "READY"
    assert (await say(READY, incarnation=NEXT_LIFE[how])).app_word is None


@pytest.mark.parametrize("how", NEXT_LIFE)
@pytest.mark.parametrize("operator", [READY, SHUTDOWN])
async def test_when_the_incarnation_changes_a_foreign_apps_word_is_dropped(how, operator, say, foreign, main):
    await foreign(routingState="DENY_NEW_CALL")
    await say(operator)
    for _ in range(2):
        record = await say(READY, incarnation=NEXT_LIFE[how])
        assert (record.app_word, record.written) == (None, READY)
    assert (await main())["routingState"] == "READY"
    await foreign(routingState="DENY_NEW_CALL")
    assert (await say(READY, incarnation=NEXT_LIFE[how])).app_word is DENY


@pytest.mark.parametrize("life", ["", "pod-b/0"], ids=["without incarnation", "with incarnation"])
async def test_the_successors_own_word_counts(life, store, service, say, next_millisecond):
    await say(READY)
    await set_state(store, service, 0, READY)
    await next_millisecond()
    await say(READY, incarnation=NEXT_LIFE["replaced"])
    await set_state(store, service, 0, DENY, incarnation=life)
    assert (await say(READY, incarnation=NEXT_LIFE["replaced"])).app_word is DENY


async def test_a_successor_that_published_before_the_operator_saw_it_is_heard(store, service, say):
    await say(READY)
    await set_state(store, service, 0, DENY, incarnation="pod-b/0")
    assert (await say(READY, incarnation=NEXT_LIFE["replaced"])).app_word is DENY


async def test_a_word_of_a_life_that_the_operator_has_not_seen_yet_does_not_count(store, service, say):
    await say(READY)
    await set_state(store, service, 0, SHUTDOWN, incarnation="pod-b/0")
    assert (await say(READY)).app_word is None


PUBLISHERS = {
    # the operator knows pod-a/1, then pod-b/2
    "the pod as the operator knows it": ("pod-b/2", True),
    "who does not know its incarnation": ("", True),
    "a pod that the operator has not seen yet": ("pod-c/0", True),
    "a restart that the operator has not seen yet": ("pod-b/3", True),
    "the container before its restart": ("pod-b/1", False),
    "the pod before": ("pod-a/1", False),
    "the pod before, whatever its count": ("pod-a/9", False),
}


@pytest.mark.parametrize("sentence", PUBLISHERS)
async def test_who_has_a_successor_must_not_publish(sentence, store, service, say, main):
    life, may = PUBLISHERS[sentence]
    await say(READY)
    await say(READY, incarnation=Incarnation("pod-b", 2))
    await set_state(store, service, 0, READY, load=1)
    before = await main()
    if may:
        assert await set_state(store, service, 0, DENY, load=5, incarnation=life) is DENY
        assert (await main())["state"] == 5
    else:
        with pytest.raises(Replaced, match=r"pod 0 of games/room has a successor"):
            await set_state(store, service, 0, DENY, load=5, incarnation=life)
        assert await main() == before


async def test_the_last_four_pods_are_refused_and_their_restarts_take_no_place(store, service, say):
    for uid in ("a", "b", "c", "d", "e"):
        for restarts in (0, 1):
            await say(READY, incarnation=Incarnation(f"pod-{uid}", restarts))
    for uid in ("a", "b", "c", "d"):
        with pytest.raises(Replaced):
            await set_state(store, service, 0, READY, incarnation=f"pod-{uid}/1")
    assert await set_state(store, service, 0, READY, incarnation="pod-e/1") is READY


async def test_without_an_operator_nobody_is_refused(store, service):
    await set_state(store, service, 0, READY, incarnation="pod-b/0")
    assert await set_state(store, service, 0, READY, incarnation="pod-a/0") is READY


@pytest.mark.parametrize("life", NEXT_LIFE)
async def test_which_links_were_made_before_a_loss_is_the_operators_word(say, life):
    await say(READY)
    record = await say(SHUTDOWN, incarnation=NEXT_LIFE[life], loss=Reason.REPLACED, before=77)
    assert record.before == 77


async def test_since_is_when_state_or_reason_last_changed(raw, say, next_millisecond):
    first = (await say(DENY, reason=Reason.UNREADY)).since
    assert abs(first - await server_ms(raw)) < 60_000
    await next_millisecond()
    assert (await say(DENY, reason=Reason.UNREADY, count=5)).since == first
    other = (await say(DENY, reason=Reason.TERMINATING)).since
    assert other > first


@pytest.mark.usefixtures("owned")
async def test_what_the_operator_decided_stands_in_its_record(store, service):
    full = decision(
        DENY,
        links=LinkAction.DRAIN,
        unready_since=1_700_000_000_000,
        address="10.0.0.7:7000",
        count=12,
        ever_ready=True,
    )
    written = await set_operator_states(store, service, OWNER, {0: full})
    record = (await get_service(store, service)).pods[0].record
    assert record == written.records[0]
    assert replace(record, since=0, written=None) == full


@pytest.mark.usefixtures("owned")
async def test_more_pods_than_one_call_takes(store, raw, service):
    count = 2 * PODS_PER_CALL + 50
    pods = {ordinal: decision(READY, count=ordinal) for ordinal in range(count)}
    written = await set_operator_states(store, service, OWNER, pods)
    assert {ordinal: record.count for ordinal, record in written.records.items()} == {n: n for n in range(count)}
    assert len((await get_service(store, service)).pods) == count
    assert await raw.hlen(service.states) == count


# Who is told


async def test_a_change_is_told_exactly_when_the_effective_state_changes(
    store, service, say, foreign, changes, wakeups
):
    story = [
        ("the operator sees a new pod", lambda: say(READY), ("0", "", "READY", "Ready")),
        ("it says the same again", lambda: say(READY), None),
        ("the app publishes READY", lambda: set_state(store, service, 0, READY), None),
        ("its load changes", lambda: set_state(store, service, 0, READY, load=9), None),
        ("the app denies", lambda: set_state(store, service, 0, DENY), ("0", "READY", "DENY_NEW_CALL", "App")),
        ("the operator sees it", lambda: say(READY), None),
        ("the operator denies, too", lambda: say(DENY), None),
        ("the app takes it back", lambda: set_state(store, service, 0, READY), None),
        ("the operator shuts it down", lambda: say(SHUTDOWN), ("0", "DENY_NEW_CALL", "SHUTDOWN", "UnreadyTooLong")),
        ("for another reason", lambda: say(SHUTDOWN, reason=Reason.GONE), None),
        ("the app says READY", lambda: set_state(store, service, 0, READY), None),
        ("the operator is content again", lambda: say(READY), ("0", "SHUTDOWN", "READY", "Ready")),
        ("a foreign client writes DENY", lambda: foreign(routingState="DENY_NEW_CALL"), None),
        ("a foreign client's DENY is seen", lambda: say(READY), None),
        ("a foreign client writes READY", lambda: foreign(routingState="READY"), None),
        ("over the operator's DENY", lambda: say(DENY), ("0", "READY", "DENY_NEW_CALL", "Terminating")),
    ]
    told = []
    for sentence, happens, entry in story:
        await happens()
        told += [entry] if entry else []
        assert await changes() == told, sentence
        assert await wakeups() == (["ev"] if entry else []), sentence


async def test_what_becomes_of_the_links_is_told_without_an_entry_since_no_state_has_changed(
    store, service, say, changes, wakeups
):
    until = {"release": 1_800_000_000_000}
    await set_state(store, service, 0, DENY)
    await wakeups()
    story = [
        ("the operator sees the pod", lambda: say(DENY), []),
        ("the app is to give its links away", lambda: say(DENY, **until), ["ev"]),
        ("the operator says the same again", lambda: say(DENY, **until), []),
        ("it is to have longer", lambda: say(DENY, release=1_800_000_009_000), ["ev"]),
        ("the operator takes what is left", lambda: say(DENY, links=LinkAction.DRAIN), ["ev"]),
        ("for another reason", lambda: say(DENY, links=LinkAction.DRAIN, reason=Reason.DRAIN_REQUESTED), []),
        ("nothing is to be given away any more", lambda: say(DENY), ["ev"]),
    ]
    for sentence, happens, told in story:
        await happens()
        assert await wakeups() == told, sentence
    assert await changes() == [("0", "", "DENY_NEW_CALL", "App")]


@pytest.mark.usefixtures("owned")
async def test_many_changes_of_one_write_wake_once(store, service, changes, wakeups):
    await set_operator_states(store, service, OWNER, {ordinal: decision(READY) for ordinal in range(5)})
    assert [(pod, to) for pod, _, to, _ in await changes()] == [(str(ordinal), "READY") for ordinal in range(5)]
    assert await wakeups() == ["ev"]


async def test_the_first_state_of_an_app_is_told(store, service, changes, wakeups):
    await set_state(store, service, 3, READY)
    assert await changes() == [("3", "", "READY", "App")]
    assert await wakeups() == ["ev"]


async def test_an_unparsable_record_is_told_by_what_the_operator_wrote_last(say, foreign, changes):
    await foreign("hello")
    await say(READY)
    await say(READY)
    await say(DENY)
    assert [(before, to) for _, before, to, _ in await changes()] == [("", "READY"), ("READY", "DENY_NEW_CALL")]


async def test_the_change_stream_is_capped(store, raw, service, say):
    async with raw.pipeline(transaction=False) as pipe:
        for _ in range(STREAM_LENGTH + 500):
            pipe.xadd(service.changes, {"pod": "0"})
        await pipe.execute()
    await set_state(store, service, 0, DENY)
    await say(SHUTDOWN)
    assert await raw.xlen(service.changes) < STREAM_LENGTH + 200


@pytest.mark.usefixtures("owned")
async def test_pods_that_are_forgotten_leave_nothing_behind_and_are_told(store, raw, service, changes, wakeups):
    await set_operator_states(store, service, OWNER, {ordinal: decision(SHUTDOWN) for ordinal in range(3)})
    await wakeups()
    assert await remove_states(store, service, OWNER, [1, 2, 7]) == 2
    assert set((await get_service(store, service)).pods) == {0}
    assert await raw.hkeys(service.states) == await raw.hkeys(service.records) == ["0"]
    assert (await changes())[3:] == [("1", "SHUTDOWN", "", "Gone"), ("2", "SHUTDOWN", "", "Gone")]
    assert await wakeups() == ["ev"]


@pytest.mark.usefixtures("owned")
async def test_forgetting_pods_that_are_not_there_wakes_nobody(store, service, changes, wakeups):
    assert await remove_states(store, service, OWNER, [4]) == 0
    assert await changes() == []
    assert await wakeups() == []


async def test_a_change_stream_of_another_type_is_told_before_anything_is_written(store, raw, service, owned):
    await set_operator_states(store, service, owned, {0: decision()})
    await raw.delete(service.changes)
    await raw.set(service.changes, "somebody else's")
    before = await raw.hgetall(service.states), await raw.hgetall(service.records)
    with pytest.raises(StoreRejected, match="WRONGTYPE"):
        await set_operator_states(store, service, owned, {0: decision(DENY)})
    with pytest.raises(StoreRejected, match="WRONGTYPE"):
        await remove_states(store, service, owned, [0])
    assert (await raw.hgetall(service.states), await raw.hgetall(service.records)) == before


async def test_without_an_operator_the_first_word_of_a_successor_replaces_who_spoke_before(store, service, raw):
    """A zombie is refused from then on, whatever it says first; who names no incarnation is not told apart."""
    for life, begins in (("pod-a", True), ("pod-a", False), ("pod-b/2", True), ("pod-c", True)):
        await publish_state(store, service, 0, Publication(READY, incarnation=life, begins=begins))
    before = await raw.hget(service.states, "0")
    for life in ("pod-a", "pod-b", "pod-b/3"):
        for begins in (True, False):
            with pytest.raises(Replaced):
                await publish_state(store, service, 0, Publication(READY, incarnation=life, begins=begins))
    assert await raw.hget(service.states, "0") == before
    await set_state(store, service, 0, DENY, incarnation="pod-c")
    await set_state(store, service, 0, DENY)
    with pytest.raises(Replaced):
        await set_state(store, service, 0, READY, incarnation="pod-a")


async def test_who_publishes_learns_that_the_store_had_lost_its_record(store, service, raw):
    assert (await publish_state(store, service, 0, Publication(READY)))[:2] == (READY, False)
    assert (await publish_state(store, service, 0, Publication(DENY)))[:2] == (DENY, True)
    await raw.flushall()
    assert (await publish_state(store, service, 0, Publication(DENY)))[:2] == (DENY, False)
