"""What a failure of redis-py was caused by, in few words: what the server or the socket has said."""

import errno
import os
import re
import socket
import ssl

from redis import exceptions as rx

from stateful_route.domain.address import host_port

_WHERE = re.compile(r"(?:connecting to|reading from) (?P<host>[^\s/]+):(?P<port>\d+)\b")
"""How redis-py names the server in what it says of a connection."""

_OF_A_SOCKET = re.compile(
    r"Error .*connecting to |Error while reading from |Error \S+ while writing to socket|Timeout "
)
"""How redis-py's errors of connections begin; what the socket itself has said is their cause or context."""

_NUMBERED = re.compile(r"Error (?P<number>-?\d+) connecting to \S+ (?P<said>.*)", re.DOTALL)
"""The same where the socket has numbered its error, which redis-py repeats; a name that does not resolve: below 0."""

_SEVERAL = re.compile(r"\[Errno (\d+)\]")
_SSL_DECORATION = re.compile(r"\[[A-Z0-9_: ]+\] |\s*\(_ssl\.c:\d+\)")
_DUMP = re.compile(r"\s*<[\w.]+(?:\(| object at ).*>", re.DOTALL)

MOVING = "the slot of the key is being moved between nodes"
WRONG_LOGIN = "wrong user or password"
MOVED = "it is a node of a Redis Cluster, use redis+cluster://"
_SAID = (
    (re.compile(r"MOVED \d+ \S+$"), MOVED),
    (re.compile(r"(NOAUTH )?Authentication required\.?$"), "it wants a password"),
    (re.compile(r"(WRONGPASS )?invalid username-password pair or user is disabled\.?$"), WRONG_LOGIN),
    (re.compile(r"(ERR )?invalid password$"), WRONG_LOGIN),
    (re.compile(r"No master found for "), "no Sentinel names a primary"),
    (re.compile(r"TTL exhausted\.$"), MOVING),
    (re.compile(r"(TRYAGAIN )?Multiple keys request during rehashing of slot$"), MOVING),
    (re.compile(r'Slot "\d+" (is )?not covered by the cluster'), "no node serves the slot of the key"),
    (re.compile(r"startup_nodes could not agree"), "its nodes do not agree who has which slots"),
    (re.compile(r"Cluster mode is not enabled on this node$"), "it is no node of a Redis Cluster, use redis://"),
)
"""How redis-py or a server begins, or puts, what tells a user little, and what it means; else their words are told."""

_COVERED = re.compile(r"All slots are not covered after query all startup_nodes. (\d+) of (\d+)")


def cause_of(error: BaseException, label: str = "") -> str:
    """Why it failed, in one line without the address of Python's objects.

    Four causes have words of their own: ``connection refused``, ``timed out``, a name that ``does not resolve``, a
    password that is wanted or wrong.

    Args:
        error: What redis-py or a socket has raised; an error with a text of our own says just that.
        label: The store's; the address of the server is named where the label does not do so.
    """
    text = str(error) or type(error).__name__
    if isinstance(error, OSError):
        return _of_a_socket(error)
    if isinstance(error, rx.MovedError):
        return MOVED
    if not isinstance(error, (rx.ConnectionError, rx.TimeoutError)) or not _OF_A_SOCKET.match(text):
        return _said(text)
    why = f"timed out ({_waiting(text)})" if isinstance(error, rx.TimeoutError) else _by_the_socket(error, text)
    where = _WHERE.search(text)
    address = host_port(where["host"], where["port"]) if where is not None else ""
    return f"{address}: {why}" if address and not _is_named(address, label) else why


def _is_named(address: str, label: str) -> bool:
    """Whether the label has this address, and no other."""
    return "," not in label and re.search(rf"(?<![\w.-]){re.escape(address)}(?!\d)", label) is not None


def _waiting(text: str) -> str:
    if "connecting" in text:
        return "no connection in time"
    return "no reply in time" if "reading" in text else "nothing could be sent in time"


def _by_the_socket(error: BaseException, text: str) -> str:
    for origin in (error.__cause__, error.__context__):
        if isinstance(origin, (FileNotFoundError, IsADirectoryError)) and _WHERE.search(text):
            return f"TLS: a file of the URL's ssl_ settings cannot be read ({origin.strerror})"
        if isinstance(origin, OSError):
            return _of_a_socket(origin)
    numbered = _NUMBERED.match(text)  # Python keeps one context alone: another error may stand there
    return _said(text) if numbered is None else _of_a_number(int(numbered["number"]), numbered["said"])


def _of_a_number(number: int, said: str) -> str:
    """What a socket's error of this number means; ``said``: its text, and redis-py's full stop."""
    if number < 0:
        return f"the host's name does not resolve ({said.rstrip('.')})"
    if "_ssl.c" in said or "[SSL" in said:  # whose numbers are those of a library of their own
        return f"TLS: {_SSL_DECORATION.sub('', said).strip().rstrip('.')}"
    return _spoken(number)


def _of_a_socket(error: OSError) -> str:
    if isinstance(error, TimeoutError):
        return "timed out"
    if isinstance(error, socket.gaierror):
        return f"the host's name does not resolve ({error.strerror})"
    if isinstance(error, ssl.SSLError):
        return _of_tls(error)
    if isinstance(error, FileNotFoundError):
        return "there is no such socket"
    text = str(error)
    numbers = dict.fromkeys(int(number) for number in _SEVERAL.findall(text)) or ([error.errno] if error.errno else [])
    return ", ".join(_spoken(number) for number in numbers) or text or type(error).__name__


def _of_tls(error: ssl.SSLError) -> str:
    text = _SSL_DECORATION.sub("", error.strerror or str(error.args[-1] if error.args else "")).strip()
    if getattr(error, "library", None) in {"X509", "PEM"} or text == "PEM lib":
        return f"TLS: a file of the URL's ssl_ settings is not what it should be ({text})"
    return f"TLS: {text or type(error).__name__}"


def _spoken(number: int) -> str:
    return "connection refused" if number == errno.ECONNREFUSED else os.strerror(number)


def _said(text: str) -> str:
    """What was said, or what it means."""
    if (covered := _COVERED.match(text)) is not None:
        return f"only {covered[1]} of its {covered[2]} slots are served"
    for pattern, meaning in _SAID:
        if pattern.match(text):
            return meaning
    text = _DUMP.sub("", text)
    return " ".join(text.split()) if "\n" in text else text  # a script's own word may end with a space
