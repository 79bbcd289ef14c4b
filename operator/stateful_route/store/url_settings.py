"""The settings that a store's URL takes behind its ``?``: a closed table, and their values by type."""

import re
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_plus

from stateful_route.store.credentials import FILES, with_files

TRUE, FALSE = frozenset({"true", "yes", "1"}), frozenset({"false", "no", "0"})
CERT_REQS = ("none", "optional", "required")
TLS_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


class UrlError(ValueError):
    """What is wrong with a URL, in our words; no value of a setting is in them."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting of a URL.

    Attributes:
        takes: The values that it takes, in words.
        parse: From the text to the value; raises ValueError.
        shown: Its value is shown in labels: no text of its type can be a secret.
    """

    takes: str
    parse: Callable[[str], Any]
    shown: bool = False


def _boolean(text: str) -> bool:
    if text.lower() in TRUE | FALSE:
        return text.lower() in TRUE
    raise ValueError


def _number(text: str) -> int:
    if text.isascii() and text.isdigit():
        return int(text)
    raise ValueError


def _text(text: str) -> str:
    if text and "\0" not in text:
        return text
    raise ValueError


def _word(text: str) -> str:
    if re.fullmatch(r"[!-~]+", text):
        return text
    raise ValueError


def _path(text: str) -> str:
    if text.startswith("/"):  # else it may be the password itself, and failures name the path
        return _text(text)
    raise ValueError


def _cert_reqs(text: str) -> str:
    return CERT_REQS[CERT_REQS.index(text.lower())]


def _tls_version(text: str) -> ssl.TLSVersion:
    version = TLS_VERSIONS.get(text)
    if version is None:
        raise ValueError
    return version


def _verify_flags(text: str) -> list[ssl.VerifyFlags]:
    names = [name.strip() for name in text.strip("[]").split(",")]
    if not all(name in ssl.VerifyFlags.__members__ for name in names):
        raise ValueError
    return [ssl.VerifyFlags[name] for name in names]


BOOLEAN = Setting("true, yes, 1, false, no or 0", _boolean, shown=True)
FILE = Setting("the path of a file", _text)
TEXT = Setting("a text", _text)
LOGIN_FILE = Setting("the path of a file, beginning with a slash", _path)
FLAGS = Setting("names of Python's ssl.VerifyFlags with commas between them", _verify_flags, shown=True)

PLAIN: Mapping[str, Setting] = {
    "db": Setting("the number of a database, from 0", _number, shown=True),
    "username": TEXT,
    "password": TEXT,
    **dict.fromkeys(FILES.values(), LOGIN_FILE),
    "client_name": Setting("a text without spaces, of ASCII characters", _word),
    "socket_keepalive": BOOLEAN,
}
TLS: Mapping[str, Setting] = {
    "ssl_ca_certs": FILE,
    "ssl_ca_path": Setting("the path of a folder", _text),
    "ssl_ca_data": Setting("certificates as a text", _text),
    "ssl_certfile": FILE,
    "ssl_keyfile": FILE,
    "ssl_password": TEXT,
    "ssl_cert_reqs": Setting("required, optional or none", _cert_reqs, shown=True),
    "ssl_check_hostname": BOOLEAN,
    "ssl_min_version": Setting("1.2 or 1.3", _tls_version, shown=True),
    "ssl_ciphers": TEXT,
    "ssl_include_verify_flags": FLAGS,
    "ssl_exclude_verify_flags": FLAGS,
}
SENTINEL: Mapping[str, Setting] = {
    "sentinel_username": TEXT,
    "sentinel_password": TEXT,
    **{f"sentinel_{name}": LOGIN_FILE for name in FILES.values()},
    "sentinel_ssl": BOOLEAN,
    **{f"sentinel_{name}": setting for name, setting in TLS.items()},
}
SETTINGS: Mapping[str, Setting] = {**PLAIN, **TLS, **SENTINEL}

NOT_ON_A_CLUSTER = frozenset({"db", "ssl_ca_path", "ssl_password", "ssl_min_version", "ssl_ciphers"})
"""A Cluster has the database 0 alone; the others one of redis-py's two clients of a Cluster does not know, or drops."""

_PATIENCE = "it is the library's own patience: StoreOptions.{} has it"
_LAYER = "the library depends on how redis-py reads and repeats here"
RESERVED: Mapping[str, str] = {
    "socket_timeout": _PATIENCE.format("timeout_seconds"),
    "socket_connect_timeout": _PATIENCE.format("timeout_seconds"),
    "timeout": _PATIENCE.format("timeout_seconds"),
    "max_connections": _PATIENCE.format("max_connections"),
    "health_check_interval": _PATIENCE.format("health_check_seconds"),
    "retry": _PATIENCE.format("retries"),
    "retry_on_timeout": _PATIENCE.format("retries"),
    "retry_on_error": _PATIENCE.format("retries"),
    "ssl": "TLS is said by the scheme, rediss://",
    **dict.fromkeys(
        ("protocol", "decode_responses", "encoding", "encoding_errors", "legacy_responses", "socket_read_size"), _LAYER
    ),
}
"""Settings of redis-py that a URL may not have, and why."""


def read_settings(query: str, scheme: str) -> dict[str, Any]:
    """The settings of a query, by name, each as its type.

    Args:
        query: What follows the ``?`` of a URL, %-encoded; empty: no setting.
        scheme: Of the URL: not each kind of store takes all.

    Raises:
        UrlError: a setting that is not in the table, is not for this kind of store, stands twice or has no value of its
            type.
    """
    found: dict[str, Any] = {}
    for name, value in _pairs(query):
        if name not in {*SETTINGS, *RESERVED}:
            raise UrlError(_unknown(name, scheme, found))
        if (why := _refused(name, scheme)) is not None:
            raise UrlError(why)
        if name in found:
            raise UrlError(f"the setting {name} is given twice")
        setting = SETTINGS[name]
        try:
            found[name] = setting.parse(value)
        except ValueError:
            raise UrlError(f"the setting {name} takes {setting.takes}") from None
    _check_tls(found, scheme)
    _check_files(found)
    return found


def sentinel_arguments(settings: Mapping[str, Any], *, tls: bool) -> dict[str, Any]:
    """How Sentinels themselves are reached, as redis-py's client takes it; empty: without a login and without TLS.

    Args:
        settings: What `read_settings` gave for the URL.
        tls: Whether the URL's scheme says TLS.
    """
    own = {name.removeprefix("sentinel_"): value for name, value in settings.items() if name in SENTINEL}
    own = with_files(own, "sentinel_")
    if not own.pop("ssl", tls):
        return own
    shared = {name: value for name, value in settings.items() if name in TLS}
    if "ssl_certfile" in own:  # which the key of another certificate does not fit
        shared = {name: value for name, value in shared.items() if name not in {"ssl_keyfile", "ssl_password"}}
    return {"ssl": True, **shared, **own}


def shown_settings(query: str) -> str:
    """The query as labels show it: the names that exist, and the values that cannot be a secret; else ``***``."""
    return "&".join(_shown(piece) for piece in query.split("&")) if query else ""


def begins_with_a_setting(query: str) -> bool:
    """Whether the first setting of a query has a known name: else it may be a part of something else."""
    name, equals, _ = query.partition("&")[0].partition("=")
    return bool(equals) and name.lower() in {*SETTINGS, *RESERVED}


def has_setting(query: str, name: str) -> bool:
    """Whether a query, %-encoded, gives a setting some value."""
    return any(piece.startswith(f"{name}=") and piece != f"{name}=" for piece in query.split("&"))


def decoded(text: str, decode: Callable[..., str]) -> str:
    """A %-encoded part of a URL; ``decode``: a function of `urllib.parse`.

    Raises:
        UrlError: it is no text in UTF-8.
    """
    try:
        return decode(text, errors="strict")
    except UnicodeDecodeError:
        raise UrlError("something %-encoded in it is no text in UTF-8") from None


def is_sentinel(scheme: str) -> bool:
    """Whether a URL of this scheme names Sentinels."""
    return scheme.endswith("+sentinel")


def is_cluster(scheme: str) -> bool:
    """Whether a URL of this scheme names nodes of a Cluster."""
    return scheme.endswith("+cluster")


def is_tls(scheme: str) -> bool:
    """Whether a URL of this scheme asks for TLS."""
    return scheme.startswith("rediss")


def _pairs(query: str) -> list[tuple[str, str]]:
    pairs = []
    for piece in query.split("&") if query else []:
        name, equals, value = piece.partition("=")
        if not equals:
            raise UrlError("a setting has the form name=value; an & in a value is written as %26")
        pairs.append((decoded(name, unquote_plus), decoded(value, unquote_plus)))
    return pairs


def _refused(name: str, scheme: str) -> str | None:
    """Why a URL of this scheme cannot have a setting of the tables; None: it can."""
    if name in RESERVED:
        return f"{name} cannot be set by a URL: {RESERVED[name]}"
    taken = _taken(scheme)
    if name in taken:
        return None
    if name in SENTINEL:
        return f"{name} is a setting for Sentinel alone, redis+sentinel://"
    if name in TLS and not is_tls(scheme):
        return f"{name} needs TLS: begin the URL with rediss{scheme.removeprefix('redis')}://"
    return f"{name} cannot be set for {scheme}://; what can is: {', '.join(taken)}"


def _unknown(name: str, scheme: str, before: Mapping[str, Any]) -> str:
    """That there is no such setting; its name is told unless it may be the rest of a password that has an &."""
    secret = next((known for known in before if SETTINGS[known].parse in {_text, _path}), None)
    if secret is not None:
        which = f"of the name that follows {secret} (an & in a value is written as %26)"
    else:
        which = repr(name) if re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]{0,40}", name) else "of that name"
    return f"there is no setting {which}; there are: {', '.join(_taken(scheme))}"


def _taken(scheme: str) -> list[str]:
    """The names of the settings that a URL of this scheme can have."""
    if scheme == "unix":
        return [name for name in PLAIN if name != "socket_keepalive"]
    names = [*PLAIN, *(TLS if is_tls(scheme) else ()), *(SENTINEL if is_sentinel(scheme) else ())]
    return [name for name in names if not (is_cluster(scheme) and name in NOT_ON_A_CLUSTER)]


def _check_tls(found: Mapping[str, Any], scheme: str) -> None:
    """See that no setting counts for nothing, or undoes another one."""
    if not found.get("sentinel_ssl", is_tls(scheme)):
        for name in found:
            if name.startswith("sentinel_ssl_"):
                raise UrlError(f"{name} needs TLS to the Sentinels: sentinel_ssl=true")
    for begin in ("", "sentinel_"):
        if f"{begin}ssl_keyfile" in found and f"{begin}ssl_certfile" not in found:
            raise UrlError(f"{begin}ssl_keyfile needs {begin}ssl_certfile, the certificate that the key belongs to")


def _check_files(found: Mapping[str, Any]) -> None:
    """See that a user or password has one source."""
    for begin in ("", "sentinel_"):
        for name, file in FILES.items():
            if f"{begin}{name}" in found and f"{begin}{file}" in found:
                raise UrlError(f"the {begin}{name} is given twice, as a setting and by {begin}{file}")


def _shown(piece: str) -> str:
    name, equals, value = piece.partition("=")
    if not equals or name.lower() not in {*SETTINGS, *RESERVED}:
        return "***"
    setting = SETTINGS.get(name)
    if setting is None or not setting.shown:
        return f"{name}=***"
    try:
        setting.parse(unquote_plus(value))
    except ValueError:
        return f"{name}=***"
    return f"{name}={value}"
