"""What a failure of redis-py was caused by, in few words: what the server or the socket has said."""

import errno
import os
import re
import socket
import ssl

from redis import exceptions as rx

from stateful_route.domain.address import host_port
from stateful_route.store.marks import greeting_of, server_of
from stateful_route.store.tls_files import faulty_setting

_WHERE = re.compile(r"(?:connecting to|reading from) (?P<host>[^\s/]+):(?P<port>\d+)\b")
"""How redis-py names the server in what it says of a connection."""

_OF_A_SOCKET = re.compile(
    r"Error .*connecting to |Error while reading from |Error \S+ while writing to socket|Timeout "
)
"""How redis-py's errors of connections begin; what the socket itself has said is their cause or context."""

_NUMBERED = re.compile(r"Error (?P<number>-?\d+) connecting to \S+ (?P<said>.*)", re.DOTALL)
"""The same where the socket has numbered its error, which redis-py repeats; a name that does not resolve: below 0."""

_OF_A_FILE = (FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError)

_SEVERAL = re.compile(r"\[Errno (\d+)\]")
_SSL_DECORATION = re.compile(r"\[[A-Z0-9_: ]+\] |\s*\(_ssl\.c:\d+\)")
_DUMP = re.compile(r"\s*<[\w.]+(?:\(| object at ).*>", re.DOTALL)

MOVING = "the slot of the key is being moved between nodes"
WRONG_LOGIN = "wrong user or password"
UNWANTED_LOGIN = "it wants no password, and was given one"
MOVED = "it is a node of a Redis Cluster, use redis+cluster://"
NO_GREETING = "it closed the connection without an answer; if it speaks TLS, begin the URL with rediss"
_SAID = (
    (re.compile(r"MOVED \d+ \S+$"), MOVED),
    (re.compile(r"(NOAUTH )?Authentication required\.?$"), "it wants a password"),
    (re.compile(r"(WRONGPASS )?invalid username-password pair or user is disabled\.?$"), WRONG_LOGIN),
    (re.compile(r"(ERR )?invalid password$"), WRONG_LOGIN),
    (re.compile(r"(ERR )?AUTH .*called without any password configured"), UNWANTED_LOGIN),
    (re.compile(r"(ERR )?Client sent AUTH, but no password is set$"), UNWANTED_LOGIN),
    (re.compile(r"(ERR )?(DB index is out of range|invalid DB index)$"), "it has no database of that number"),
    (re.compile(r"NOREPLICAS "), "too few replicas are up to date (min-replicas-to-write)"),
    (re.compile(r"Connection closed by server\.$"), "it closed the connection"),
    (re.compile(r"No master found for "), "no Sentinel names a primary"),
    (re.compile(r"TTL exhausted\.$"), MOVING),
    (re.compile(r"No connection available\.?$"), "no connection became free in time, too many calls are under way"),
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
        label: The store's. If it stands for several servers, the address of the one that failed is told; if it stands
            for one, its address is told where the label does not have it and the error does.
    """
    text = str(error) or type(error).__name__
    why = _why(error, text)
    address = _address(error, text, label)
    told = not address or why.startswith(address) or (not _is_of_several(label) and _has(label, address))
    return why if told else f"{address}: {why}"


def _why(error: BaseException, text: str) -> str:
    if isinstance(error, OSError):
        return _of_a_socket(error)
    if isinstance(error, rx.MovedError):
        return MOVED
    greeting = greeting_of(error)
    if greeting is not None and greeting.tcp and greeting.tls is None and _was_ended(error, text):
        return NO_GREETING
    if not isinstance(error, (rx.ConnectionError, rx.TimeoutError)) or not _OF_A_SOCKET.match(text):
        return _said(text)
    return f"timed out ({_waiting(text)})" if isinstance(error, rx.TimeoutError) else _by_the_socket(error, text)


def _address(error: BaseException, text: str, label: str) -> str:
    """The server's, as its connection or the text has it; empty: neither has, or one server needs none."""
    if _is_of_several(label) and (address := server_of(error)):
        return address
    where = _WHERE.search(text) if _OF_A_SOCKET.match(text) else None
    return host_port(where["host"], where["port"]) if where is not None else ""


def _is_of_several(label: str) -> bool:
    """Whether it is the label of Sentinels or of a Cluster."""
    return "+" in label.partition("://")[0]


def _has(label: str, address: str) -> bool:
    return re.search(rf"(?<![\w.-]){re.escape(address)}(?!\d)", label) is not None


def _was_ended(error: BaseException, text: str) -> bool:
    """Whether the server has ended the connection, instead of an answer."""
    return text.startswith("Connection closed by server") or any(
        isinstance(origin, (ConnectionResetError, BrokenPipeError)) for origin in (error.__cause__, error.__context__)
    )


def _waiting(text: str) -> str:
    if "connecting" in text:
        return "no connection in time"
    return "no reply in time" if "reading" in text else "nothing could be sent in time"


def _by_the_socket(error: BaseException, text: str) -> str:
    for origin in (error.__cause__, error.__context__):
        if isinstance(origin, _OF_A_FILE) and (setting := _setting(error)):
            return f"TLS: the file of {setting} cannot be read ({origin.strerror})"
        if isinstance(origin, ssl.SSLError) and _is_of_a_file(origin):
            what = f"the file of {setting}" if (setting := _setting(error)) else "a file of the URL's ssl_ settings"
            return f"TLS: {what} is not what it should be ({_words_of_tls(origin)})"
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


def _setting(error: BaseException) -> str:
    """The setting of the URL whose file TLS cannot use; empty: there is none."""
    greeting = greeting_of(error)
    return faulty_setting(greeting.tls) if greeting is not None and greeting.tls is not None else ""


def _is_of_a_file(error: ssl.SSLError) -> bool:
    return getattr(error, "library", None) in {"X509", "PEM"} or _words_of_tls(error) == "PEM lib"


def _words_of_tls(error: ssl.SSLError) -> str:
    return _SSL_DECORATION.sub("", error.strerror or str(error.args[-1] if error.args else "")).strip()


def _of_tls(error: ssl.SSLError) -> str:
    return f"TLS: {_words_of_tls(error) or type(error).__name__}"


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
