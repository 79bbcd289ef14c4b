"""Which names, uids and ordinals can be stored, and what is said of the others."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stateful_route.domain.errors import InvalidArgument, StatefulRouteError
from stateful_route.domain.names import (
    MAX_NAME_BYTES,
    MAX_ORDINAL,
    MAX_UID_BYTES,
    check_load,
    check_name,
    check_ordinal,
    check_uid,
    check_word,
)

REFUSED = {
    "empty": ("", "must not be empty or blank"),
    "blank": (" \t\n", "must not be empty or blank"),
    "an opening brace": ("a{b", "has a brace"),
    "a closing brace": ("a}b", "has a brace"),
    "half of a surrogate pair": ("a\ud800", "is not valid Unicode text"),
    "None": (None, "must not be empty or blank"),
    "bytes": (b"room", "must not be empty or blank"),
    "a number": (7, "must not be empty or blank"),
}


@pytest.mark.parametrize("check", [lambda value: check_name(value, "service name"), check_uid], ids=["name", "uid"])
@pytest.mark.parametrize("sentence", REFUSED)
def test_a_name_or_uid_is_refused_that_is(sentence, check):
    value, says = REFUSED[sentence]
    with pytest.raises(InvalidArgument, match=says):
        check(value)


ACCEPTED = {
    "plain": "room",
    "one character": "0",
    "spaces inside": "Ada Lovelace",
    "other scripts": "玩家-αβγ-🎲",
    "glob characters": "a*b?c[d]e\\f^g-h",
    "colons and slashes": "tenant:7/user#3",
    "control characters": "a\x00\nb",
}


@pytest.mark.parametrize("sentence", ACCEPTED)
def test_a_name_or_uid_is_taken_as_it_is(sentence):
    value = ACCEPTED[sentence]
    assert check_name(value, "namespace") == value
    assert check_uid(value) == value


LIMITS = {
    "name": (lambda value: check_name(value, "namespace"), MAX_NAME_BYTES, 253),
    "uid": (check_uid, MAX_UID_BYTES, 1024),
}


@pytest.mark.parametrize("what", LIMITS)
def test_length_is_counted_in_bytes(what):
    check, limit, expected = LIMITS[what]
    assert limit == expected
    assert check("x" * limit)
    with pytest.raises(InvalidArgument, match=f"has {limit + 1} bytes, more than the {limit} allowed"):
        check("x" * (limit + 1))
    with pytest.raises(InvalidArgument, match=f"has {limit + 2} bytes"):
        check("é" * (limit // 2 + 1) + "x" * (limit % 2))


def test_a_message_names_the_thing_and_shortens_it():
    with pytest.raises(InvalidArgument, match=r"^the namespace 'x{40}…' has 5000 bytes"):
        check_name("x" * 5000, "namespace")


def test_zero_is_a_valid_pod_and_so_is_the_highest():
    assert check_ordinal(0) == 0
    assert check_ordinal(MAX_ORDINAL) == MAX_ORDINAL == 8191


@pytest.mark.parametrize("value", [-1, MAX_ORDINAL + 1, True, False, None, "0", 1.0, 2**70], ids=repr)
def test_no_pod_index_is(value):
    with pytest.raises(InvalidArgument, match="a pod index is an integer from 0 to 8191"):
        check_ordinal(value)


def test_the_error_is_ours_and_a_value_error():
    assert issubclass(InvalidArgument, StatefulRouteError)
    assert issubclass(InvalidArgument, ValueError)


@given(st.text())
def test_a_text_is_taken_or_refused_and_never_changed(value):
    try:
        assert check_uid(value) == value
    except InvalidArgument:
        assert not value.strip() or "{" in value or "}" in value or len(value) * 4 > MAX_UID_BYTES


@pytest.mark.parametrize("value", ["", " ", None, b"busy", "\ud800", "x" * (MAX_UID_BYTES + 1)])
def test_a_value_is_refused_that_does_not_come_back_as_it_was(value):
    with pytest.raises(InvalidArgument, match="the workload state"):
        check_word(value, "workload state")


@pytest.mark.parametrize("value", ["busy", "{busy}", "\x00", "é" * 512])
def test_a_value_may_have_braces_for_it_is_part_of_no_key(value):
    assert check_word(value, "workload state") == value


@pytest.mark.parametrize("load", [0, -5, 2.5, 2**53, 2**60, -1e300, 5e-324])
def test_a_load_is_taken_as_it_is(load):
    assert check_load(load) == load


@pytest.mark.parametrize("load", [2**53 + 1, 10**400, float("nan"), float("inf"), "5", None, True, 1j])
def test_a_load_is_refused_that_a_float_cannot_hold(load):
    with pytest.raises(InvalidArgument, match="a load is a finite number that a float can hold"):
        check_load(load)


@pytest.mark.parametrize("check", [check_load, check_ordinal])
@pytest.mark.parametrize("digits", [4000, 5000])
def test_a_huge_number_makes_no_huge_message(check, digits):
    with pytest.raises(InvalidArgument) as caught:
        check(10**digits)
    assert len(str(caught.value)) < 150
