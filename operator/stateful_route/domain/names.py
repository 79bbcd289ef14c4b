"""Which names, uids, ordinals and values can be stored, and what to say of the others."""

import math

from stateful_route.domain.errors import InvalidArgument

MAX_NAME_BYTES = 253
"""As long as a Kubernetes object's name."""

MAX_UID_BYTES = 1024
"""Longer than any identifier in use; a uid is stored three times, so a megabyte would be a mistake."""

MAX_ORDINAL = 8191
"""13 bits of an index entry's score hold the ordinal (the other 40 bits hold the epoch)."""


SHOWN_LENGTH = 40


def check_name(value: str, what: str) -> str:
    """``value`` itself, if it can be a namespace or service name in a Redis key.

    Raises:
        InvalidArgument: empty, blank, too long, or with a brace (it would break the hash tag).
    """
    return _check(value, what, MAX_NAME_BYTES)


def check_uid(uid: str) -> str:
    """``uid`` itself, if it can be stored; the errors are those of `check_name`."""
    return _check(uid, "uid", MAX_UID_BYTES)


def check_ordinal(ordinal: int) -> int:
    """``ordinal`` itself, if it is a pod index: 0 (a valid pod) to 8,191.

    Raises:
        InvalidArgument: not an integer, negative, or over `MAX_ORDINAL`.
    """
    if not isinstance(ordinal, int) or isinstance(ordinal, bool) or not 0 <= ordinal <= MAX_ORDINAL:
        raise InvalidArgument(f"a pod index is an integer from 0 to {MAX_ORDINAL}, not {shown(ordinal)}")
    return ordinal


def check_word(value: str, what: str) -> str:
    """``value`` itself, if it can be stored as a value (it is part of no key, so braces do not matter).

    Raises:
        InvalidArgument: empty, blank, not text, or longer than `MAX_UID_BYTES`.
    """
    return _check_text(value, what, MAX_UID_BYTES)


def check_load(load: float) -> float:
    """``load`` itself, if it is a number that comes back as it was stored.

    Raises:
        InvalidArgument: no number, not finite, or an integer that a float cannot hold.
    """
    if isinstance(load, (int, float)) and not isinstance(load, bool):
        try:
            if math.isfinite(load) and float(load) == load:
                return load
        except OverflowError:
            pass
    raise InvalidArgument(f"a load is a finite number that a float can hold, not {shown(load)}")


def shown(value: object) -> str:
    """A wrong argument as a message quotes it: as much as one needs to recognise it."""
    if isinstance(value, str):
        return repr(value if len(value) <= SHOWN_LENGTH else value[:SHOWN_LENGTH] + "…")
    try:
        text = repr(value)
    except ValueError:  # Python writes out no number of more than 4,300 digits
        return "a number of thousands of digits"
    return text if len(text) <= SHOWN_LENGTH else text[:SHOWN_LENGTH] + "…"


def _check(value: str, what: str, limit: int) -> str:
    if isinstance(value, str) and ("{" in value or "}" in value):
        raise InvalidArgument(f"the {what} {shown(value)} has a brace, which would break the hash tag of its Redis key")
    return _check_text(value, what, limit)


def _check_text(value: str, what: str, limit: int) -> str:
    if not isinstance(value, str) or not value.strip():
        raise InvalidArgument(f"the {what} must not be empty or blank")
    try:
        size = len(value) if value.isascii() else len(value.encode())
    except UnicodeEncodeError:
        raise InvalidArgument(f"the {what} {shown(value)} is not valid Unicode text") from None
    if size > limit:
        raise InvalidArgument(f"the {what} {shown(value)} has {size} bytes, more than the {limit} allowed")
    return value
