"""Which names, uids and ordinals can be stored, and what to say of the others."""

from stateful_route.domain.errors import InvalidArgument

MAX_NAME_BYTES = 253
"""As long as a Kubernetes object's name."""

MAX_UID_BYTES = 1024
"""Longer than any identifier in use; a uid is stored three times, so a megabyte would be a mistake."""

MAX_ORDINAL = 8191
"""13 bits of an index entry's score hold the ordinal (the other 40 bits hold the epoch)."""


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
        raise InvalidArgument(f"a pod index is an integer from 0 to {MAX_ORDINAL}, not {ordinal!r}")
    return ordinal


def _check(value: str, what: str, limit: int) -> str:
    if not isinstance(value, str) or not value.strip():
        raise InvalidArgument(f"the {what} must not be empty or blank")
    if "{" in value or "}" in value:
        raise InvalidArgument(
            f"the {what} {_short(value)} has a brace, which would break the hash tag of its Redis key"
        )
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        raise InvalidArgument(f"the {what} {_short(value)} is not valid Unicode text") from None
    if size > limit:
        raise InvalidArgument(f"the {what} {_short(value)} has {size} bytes, more than the {limit} allowed")
    return value


def _short(value: str) -> str:
    return repr(value if len(value) <= 40 else value[:40] + "…")  # noqa: PLR2004  long enough to recognise
