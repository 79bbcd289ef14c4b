"""The layout: how keys are spelt, which of them share a slot, the tags of the buckets, and the scripts' heads."""

import hashlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.crc import key_slot

from stateful_route.domain.epoch import EPOCH_START_MS, STEP
from stateful_route.domain.errors import InvalidArgument
from stateful_route.domain.names import MAX_ORDINAL, MAX_UID_BYTES
from stateful_route.resources import shipped
from stateful_route.store import keys
from stateful_route.store.keys import BUCKETS, META, Service, tags
from stateful_route.store.scripts import script, timed

SERVICE = Service("games", "room")
SPELLING = {
    "states": (SERVICE.states, "sf:{games:state:room}"),
    "workload": (SERVICE.workload, "sf:{games:workload:room}"),
    "all links of a uid": (SERVICE.links("ada"), "sf:{games:lk:ada}"),
    "one link": (SERVICE.link("ada"), "sf:{games:lk:ada}room"),
    "the operator's records": (SERVICE.records, "sf:{games:state:room}#op"),
    "the configuration": (SERVICE.config, "sf:{games:state:room}#cfg"),
    "the owner": (SERVICE.owner, "sf:{games:state:room}#own"),
    "changes": (SERVICE.changes, "sf:{games:state:room}#ev"),
    "moves": (SERVICE.moves, "sf:{games:state:room}#mv"),
    "the channel": (SERVICE.channel, "sf:{games:state:room}#ch"),
    "the index of the first bucket": (SERVICE.index(0), "sf:{06S}ix:games:room"),
    "the index of the last bucket": (SERVICE.index(16383), "sf:{6ZJ}ix:games:room"),
    "the layout's version": (META, "sf:meta"),
}


@pytest.mark.parametrize("what", SPELLING)
def test_a_key_is_spelt_as_foreign_members_of_the_family_spell_it(what):
    ours, expected = SPELLING[what]
    assert ours == expected


def test_all_keys_of_a_service_share_a_slot():
    service_keys = (SERVICE.states, SERVICE.records, SERVICE.config, SERVICE.owner, SERVICE.changes, SERVICE.moves)
    assert len({key_slot(key.encode()) for key in (*service_keys, SERVICE.channel)}) == 1


NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="{}"), min_size=1, max_size=60).filter(
    str.strip
)
UIDS = NAMES.filter(lambda text: len(text.encode()) <= MAX_UID_BYTES)


@given(namespace=NAMES.filter(lambda name: ":" not in name), name=NAMES, uid=UIDS)
def test_a_uids_link_hash_and_index_share_the_slot_that_is_its_bucket(namespace, name, uid):
    service = Service(namespace, name)
    bucket = service.bucket(uid)
    assert {key_slot(key.encode()) for key in service.uid_keys(uid)} == {bucket}
    assert service.uid_keys(uid) == (service.link(uid), service.links(uid), service.index(bucket))


@given(raw=st.binary(min_size=1, max_size=20).filter(lambda raw: b"}" not in raw and b"{" not in raw))
def test_a_foreign_uid_that_is_no_text_has_the_slot_of_its_bytes(raw):
    uid = raw.decode(errors="surrogateescape")
    assert SERVICE.bucket(uid) == key_slot(b"sf:{games:lk:" + raw + b"}room")


def test_a_uid_that_cannot_be_stored_has_no_keys():
    with pytest.raises(InvalidArgument):
        SERVICE.uid_keys("a}b")


@pytest.mark.parametrize(("namespace", "name"), [("", "room"), ("games", " "), ("ga{mes", "room"), ("games", "ro}om")])
def test_a_service_with_a_name_that_cannot_be_stored_is_refused(namespace, name):
    with pytest.raises(InvalidArgument):
        Service(namespace, name)


def test_each_bucket_has_a_tag_of_its_own_slot_and_no_two_share_one():
    assert len(tags()) == BUCKETS == 16384
    assert len(set(tags())) == BUCKETS
    assert all(key_slot(tag.encode()) == slot for slot, tag in enumerate(tags()))


PINNED = {0: "06S", 1: "2Gx", 8191: "6xN", 8192: "8YG", 12345: "0qs", 13923: "000", 16383: "6ZJ"}
PINNED_HASH = "9cf49c6be958011e4d541eb1571c651eb2de0ed1071c632fe136e1d8f5636f44"


def test_the_tags_are_the_layout_and_do_not_change():
    assert {slot: tags()[slot] for slot in PINNED} == PINNED
    assert hashlib.sha256(",".join(tags()).encode()).hexdigest() == PINNED_HASH


SCRIPTS = sorted(file.name.removesuffix(".lua") for file in shipped("lua").iterdir() if file.name.endswith(".lua"))


def test_there_are_scripts_and_nothing_else():
    assert "statefulSetLink" in SCRIPTS
    assert {file.name for file in shipped("lua").iterdir()} == {f"{name}.lua" for name in SCRIPTS} | {"lib"}


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_is_whole_and_any_lua_reads_its_head(name):
    for sent in (script(name), timed(script(name))):
        assert "-- include" not in sent.source
        assert sent.source.count("[[") == 1  # some servers' Lua refuses a bracket within a bracket


def test_the_numbers_of_the_scripts_are_those_of_the_library():
    source = script("statefulSetLink").source
    assert f"local STEP, START = {STEP}, {EPOCH_START_MS}\n" in source
    assert f"pod <= {MAX_ORDINAL} " in source


@pytest.mark.parametrize("name", SCRIPTS)
def test_what_scripts_share_is_written_once(name):
    text = (shipped("lua") / f"{name}.lua").read_text()
    assert not re.search(rf"\b{STEP}\b", text)
    assert str(EPOCH_START_MS) not in text
    assert not re.search(rf"[<>]=? {MAX_ORDINAL}\b", text)
    assert "'^%d+$'" not in text


def test_a_floor_lies_beside_its_index_and_is_the_index_of_no_service():
    assert SERVICE.floor(0) == "sf:{06S}ix:games:room}hi"
    assert key_slot(SERVICE.floor(77).encode()) == key_slot(SERVICE.index(77).encode()) == 77


@pytest.mark.parametrize("name", SCRIPTS)
def test_each_lua_file_is_found_by_its_name_and_hashed(name):
    loaded = script(name)
    assert loaded.name == name
    assert loaded.sha == hashlib.sha1(loaded.source.encode()).hexdigest()


@pytest.mark.parametrize("name", SCRIPTS)
def test_each_script_says_its_contract_in_its_head(name):
    source = script(name).source
    head, closed, body = source.partition("]]")
    assert head.startswith("--[[\n  ")
    assert closed
    assert re.search(r"^  KEYS\[\w+\] +(string|hash|zset|stream) ", head, re.MULTILINE)
    assert re.search(r"^  Returns  \S", head, re.MULTILINE)
    assert ("ARGV" in body) is bool(re.search(r"^  ARGV\[\w", head, re.MULTILINE))


@pytest.mark.parametrize("name", SCRIPTS)
def test_no_script_builds_a_key_itself(name):
    body = script(name).source.partition("]]")[2]
    assert "sf:" not in body
    given = ["KEYS[", "unpack(links", "links[", "index .. '}hi'"]  # the floor of an index that was given
    if "local function keep_counts(counts, index" in body:
        given.append("counts")
    if "local key, changes = KEYS[" in body:
        given.append("key")
    for argument in re.findall(r"redis\.p?call\(\s*'[A-Z]+',\s*([^,)]+)", body):
        assert argument.startswith(tuple(given)), argument


def test_a_script_that_is_not_there_says_so():
    with pytest.raises(FileNotFoundError):
        script("noSuchScript")


def test_the_tags_are_found_in_a_moment():
    keys.tags.cache_clear()
    assert len(tags()) == BUCKETS


def test_a_namespace_has_no_colon_since_two_services_would_share_keys():
    with pytest.raises(InvalidArgument, match="colon"):
        Service("a:lk:b", "c")
