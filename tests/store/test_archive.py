"""Archives: what is exported is all that was there, an import loses nothing, and no epoch falls by it."""

import json
import math
from dataclasses import replace

import pytest

from stateful_route.domain.errors import InvalidArgument
from stateful_route.store.archive import (
    Imported,
    Mark,
    StoredLink,
    Workload,
    decode,
    encode,
    export,
    import_links,
    import_workload,
    read_links,
    services,
)
from stateful_route.store.index import Bucket, count_links, rebuild, repair
from stateful_route.store.keys import BUCKETS, Service
from stateful_route.store.links import get_link, remove_link, set_link, set_link_call

UID = "ada"
FAR_FUTURE = 4_000_000_000_000


async def link_all(store, service, pods, seconds=-1):
    await store.run_many([set_link_call(service, uid, pod, seconds) for uid, pod in pods.items()])


async def exported(store, service, after=None):
    return [portion async for portion in export(store, service, after=after, keys_per_second=math.inf)]


def entries_of(portions):
    return [entry for portion in portions for entry in portion.entries]


async def test_all_links_are_exported_indexed_or_not_with_their_end_and_epoch(store, raw, service):
    await set_link(store, service, UID, 1)
    timed = await set_link(store, service, "bob", 0, 300)
    await raw.set(service.link("theirs"), 4)
    await raw.set(service.link("odd"), "elsewhere")
    await raw.set(service.workload, "open")
    await set_link(store, Service("games", "chat"), UID, 2)
    portions = await exported(store, service)
    found = {getattr(entry, "uid", entry.kind): entry for entry in entries_of(portions)}
    assert set(found) == {UID, "bob", "theirs", "workload"}
    assert len(entries_of(portions)) == 4
    assert found["workload"] == Workload(service, "open")
    assert found["theirs"] == StoredLink(service, "theirs", 4)
    assert found[UID].expires is None
    assert (found["bob"].ordinal, found["bob"].epoch) == (0, timed.epoch)
    assert found["bob"].expires == await raw.pexpiretime(service.link("bob"))
    assert sum(portion.unreadable for portion in portions) == 1
    assert portions[-1].mark.done


async def test_an_export_writes_nothing(store, service, contents):
    await link_all(store, service, {f"user-{number}": 1 for number in range(50)}, 300)
    before = await contents()
    await exported(store, service)
    await services(store, "games")
    assert await contents() == before


async def test_of_a_lost_index_the_links_are_exported_all_the_same(store, raw, service):
    await link_all(store, service, {f"user-{number}": 1 for number in range(50)})
    for key in await raw.keys("sf:{*}ix:*"):
        await raw.delete(key)
    assert {entry.uid for entry in entries_of(await exported(store, service))} == {f"user-{n}" for n in range(50)}


async def test_an_export_goes_on_after_any_of_its_marks(store, raw, service):
    uids = {f"user-{number}" for number in range(3000)}
    await link_all(store, service, dict.fromkeys(uids, 1))
    await raw.set(service.link("theirs"), 4)
    portions = await exported(store, service)
    assert len(portions) > 4
    for place, portion in enumerate(portions):
        rest = await exported(store, service, after=portion.mark)
        found = {entry.uid for entry in [*entries_of(portions[: place + 1]), *entries_of(rest)]}
        assert found == uids | {"theirs"}
    assert entries_of(rest) == []


async def test_a_link_that_entered_the_index_behind_the_walk_is_exported(store, raw, service):
    await raw.set(service.link("theirs"), 4)
    walk = export(store, service, keys_per_second=math.inf)
    seen = []
    async for portion in walk:
        seen += portion.entries
        if portion.mark.bucket == BUCKETS:
            await rebuild(store, service, keys_per_second=math.inf)
    assert [entry.uid for entry in seen] == ["theirs"]


async def test_the_services_of_a_namespace_are_found(store, raw):
    await set_link(store, Service("games", "room"), UID, 1)
    await raw.set(Service("games", "idle").workload, "closed")
    await raw.hset(Service("games", "new").states, "0", "x")
    await set_link(store, Service("games-2", "other"), UID, 1)
    assert await services(store, "games") == ["idle", "new", "room"]
    assert await services(store, "nobody") == []


async def test_an_import_makes_links_hashes_and_index_and_no_epoch_falls(store, raw, service, contents):
    pods = {f"user-{number}": number % 3 for number in range(99)}
    await link_all(store, service, pods)
    await link_all(store, service, {"brief": 1}, 300)
    archived = entries_of(await exported(store, service))
    before = await contents()
    await raw.flushall()
    assert await import_links(store, archived, overwrite=False) == Imported(written=100)
    after = await contents()
    assert {key: value for key, value in after.items() if "ix:" not in key} == {
        key: value for key, value in before.items() if "ix:" not in key
    }
    assert await count_links(store, service) == {0: 33, 1: 34, 2: 33}
    for entry in archived:
        link = await get_link(store, service, entry.uid)
        assert (link.ordinal, link.epoch > entry.epoch) == (entry.ordinal, True)
    brief = next(entry for entry in archived if entry.uid == "brief")
    assert await raw.pexpiretime(service.link("brief")) == brief.expires
    assert (await rebuild(store, service, keys_per_second=math.inf)).found == 0


async def test_an_epoch_ahead_of_the_clock_is_not_fallen_below(store, service):
    ahead = (await set_link(store, service, "other", 1)).epoch + 10**9
    await import_links(store, [StoredLink(service, UID, 1, None, ahead)], overwrite=False)
    assert (await get_link(store, service, UID)).epoch == ahead + 1
    assert (await set_link(store, service, UID, 2)).epoch == ahead + 2


IMPORTS = {
    # sentence: (pod that stands, pod and end in the archive, overwrite, what the import says, pod afterwards)
    "where there is no link it is written": (None, (3, None), False, Imported(written=1), 3),
    "a link that stands is kept": (1, (3, None), False, Imported(kept=1), 1),
    "a link that stands is written over when asked to": (1, (3, None), True, Imported(written=1), 3),
    "the same link is written over without a new epoch": (3, (3, None), True, Imported(written=1), 3),
    "a link whose time is over is left out": (None, (3, 1000), False, Imported(expired=1), None),
    "and does not touch the one that stands": (1, (3, 1000), True, Imported(expired=1), 1),
}


@pytest.mark.parametrize("sentence", IMPORTS)
async def test_importing(sentence, store, service):
    stands, (pod, expires), overwrite, says, afterwards = IMPORTS[sentence]
    before = await set_link(store, service, UID, stands) if stands is not None else None
    entry = StoredLink(service, UID, pod, expires, 5)
    assert await import_links(store, [entry], overwrite=overwrite) == says
    link = await get_link(store, service, UID)
    assert (link.ordinal if link else None) == afterwards
    if before and link:
        assert (link.epoch == before.epoch) == (afterwards == stands)
        assert link.epoch >= before.epoch


async def test_a_second_import_changes_nothing(store, raw, service, contents):
    links = [StoredLink(service, f"user-{number}", number % 5, FAR_FUTURE, 7) for number in range(60)]
    for overwrite in (False, True):
        await import_links(store, links, overwrite=overwrite)
        before = await contents()
        await import_links(store, links, overwrite=overwrite)
        assert await contents() == before


async def test_more_links_of_one_bucket_than_one_script_takes(store, service, crowd):
    links = [StoredLink(service, uid, 2) for uid in crowd(450)]
    assert await import_links(store, links, overwrite=False) == Imported(written=450)
    assert await count_links(store, service) == {2: 450}


async def test_of_a_uid_that_comes_twice_the_last_stands_or_without_overwrite_the_first(store, raw, service):
    twice = [StoredLink(service, UID, 1), StoredLink(service, UID, 2)]
    for overwrite, pod in ((False, 1), (True, 2)):
        await raw.flushall()
        await import_links(store, twice, overwrite=overwrite)
        assert (await get_link(store, service, UID)).ordinal == pod
        assert await count_links(store, service) == {pod: 1}


async def test_foreign_keys_of_another_type_are_kept_or_written_over(store, raw, service):
    await raw.rpush(service.link(UID), "x")
    await raw.set(service.links(UID), "no hash")
    entry = StoredLink(service, UID, 1)
    assert await import_links(store, [entry], overwrite=False) == Imported(kept=1)
    assert await import_links(store, [entry], overwrite=True) == Imported(written=1)
    assert (await get_link(store, service, UID)).ordinal == 1
    assert await raw.get(service.links(UID)) == "no hash"


async def test_a_workload_state_is_written_where_none_stands_or_over_it(store, raw, service):
    assert await import_workload(store, Workload(service, "open"), overwrite=False)
    assert not await import_workload(store, Workload(service, "closed"), overwrite=False)
    assert await raw.get(service.workload) == "open"
    assert await import_workload(store, Workload(service, "closed"), overwrite=True)
    assert await raw.get(service.workload) == "closed"


async def test_a_uid_that_is_no_text_goes_there_and_back(store, raw, service):
    await raw.set(b"sf:{games:lk:\xff\xfe}room", 6)
    (entry,) = entries_of(await exported(store, service))
    await raw.flushall()
    await import_links(store, [decode(encode(entry))], overwrite=False)
    assert await raw.exists(b"sf:{games:lk:\xff\xfe}room")


async def test_links_are_read_together(store, service):
    made = await set_link(store, service, UID, 3)
    uids = [Bucket(service.bucket(uid), [uid]) for uid in (UID, "nobody")]
    read = await read_links(store, service, uids)
    assert read.links == [StoredLink(service, UID, 3, None, made.epoch)]
    assert (await read_links(store, service, [])).links == []


@pytest.mark.parametrize(
    "entry",
    [
        StoredLink(Service("a", "b"), "u", 0),
        StoredLink(Service("a", "b:c"), "ü\n\t\"'\0", 8191, FAR_FUTURE, 12),
        Workload(Service("a", "b"), "ö}{"),
        Mark(Service("a", "b"), BUCKETS + 1, 5),
    ],
)
def test_an_entry_is_one_line_and_comes_back(entry):
    line = encode(entry)
    assert "\n" not in line
    assert line.isascii()
    assert decode(line) == decode(line.encode()) == entry


LINK = {"kind": "link", "namespace": "a", "service": "b", "uid": "u", "pod": 1}

BAD_LINES = {
    "nothing": ("", "no JSON object"),
    "half a line": ('{"kind":"li', "no JSON object"),
    "another JSON": ("[1]", "no JSON object"),
    "bytes that are no text": (b"\xff", "no JSON object"),
    "no kind": ("{}", "it has no 'kind'"),
    "a kind of the future": (json.dumps(LINK | {"kind": "lock"}), "'lock': a later version"),
    "a link without a pod": (json.dumps({**LINK, "pod": None}), "pod index"),
    "a pod beyond the last": (json.dumps({**LINK, "pod": 8192}), "0 to 8191"),
    "a pod that is true": (json.dumps({**LINK, "pod": True}), "pod index"),
    "a namespace with a colon": (json.dumps({**LINK, "namespace": "a:b"}), "colon"),
    "a service with a brace": (json.dumps({**LINK, "service": "a}b"}), "brace"),
    "a uid with a brace": (json.dumps({**LINK, "uid": "a}b"}), "brace"),
    "an empty uid": (json.dumps({**LINK, "uid": ""}), "empty"),
    "a uid that is a number": (json.dumps({**LINK, "uid": 5}), "no text"),
    "a uid of half a surrogate": (json.dumps({**LINK, "uid": "\ud800"}), "not valid Unicode"),
    "a uid that is too long": (json.dumps({**LINK, "uid": "x" * 1025}), "1025 bytes"),
    "an epoch that leaves none": (json.dumps({**LINK, "epoch": 2**40 - 1}), "epoch"),
    "an end before all time": (json.dumps({**LINK, "expires": -1}), "expires"),
    "a mark at no bucket": ('{"kind":"mark","namespace":"a","service":"b","bucket":null,"started":1}', "bucket"),
    "an end that is a text": (json.dumps({**LINK, "expires": "soon"}), "expires"),
}


@pytest.mark.parametrize("sentence", BAD_LINES)
def test_a_line_that_is_no_entry_is_refused(sentence):
    line, says = BAD_LINES[sentence]
    with pytest.raises(InvalidArgument, match=says):
        decode(line)


def test_a_mark_is_done_when_nothing_remains():
    mark = Mark(Service("a", "b"), BUCKETS, 0)
    assert not mark.done
    assert replace(mark, bucket=BUCKETS + 1).done


async def test_an_import_over_a_link_with_leading_zeros_finds_the_same_pod(store, raw, service):
    await raw.set(service.link("zero"), "03")
    await repair(store, service, [Bucket(service.bucket("zero"), ["zero"])])
    before = await get_link(store, service, "zero")
    await import_links(store, [StoredLink(service, "zero", 3)], overwrite=True)
    assert await get_link(store, service, "zero") == before


async def test_an_import_over_a_retained_link_leaves_it_retained(store, raw, service):
    await set_link(store, service, "ada", 3)
    await remove_link(store, service, "ada", 60)
    expires = await raw.pexpiretime(service.link("ada"))
    await import_links(store, [StoredLink(service, "ada", 3, expires)], overwrite=True)
    assert not await raw.exists(service.links("ada"))
