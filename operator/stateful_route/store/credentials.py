"""Logins whose user or password is in a file, which is read anew whenever a connection is made."""

import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from redis.credentials import CredentialProvider
from redis.exceptions import AuthenticationError

FILES = {"username": "username_file", "password": "password_file"}
"""The settings of a URL that name a file, by what is in it."""

MAX_BYTES = 65536
"""A longer file holds no password: it is the wrong one."""


@dataclass(frozen=True, slots=True)
class LoginFiles(CredentialProvider):
    """The login of a URL that names files, for redis-py's connections, asynchronous and synchronous.

    Attributes:
        paths: ``username_file`` or ``password_file``, or both, with the paths of the files.
        username: What the URL itself has; None: nothing.
        password: What the URL itself has; None: nothing.
        whose: How the settings' names begin: ``sentinel_``, or with nothing for the servers.
    """

    paths: Mapping[str, str]
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    whose: str = ""

    def get_credentials(self) -> Any:
        """User and password as they are now, each a str or bytes; the password alone where there is no user.

        Raises:
            redis-py's AuthenticationError: a file cannot be used; the message names its setting and path.
        """
        username, password = self._now("username", self.username), self._now("password", self.password)
        return (username, password) if username else (password,)

    async def get_credentials_async(self) -> Any:
        """As `get_credentials`; the files are small and on this machine, so that nobody waits for them."""
        return self.get_credentials()

    def _now(self, name: str, given: str | None) -> str | bytes:
        path = self.paths.get(FILES[name])
        if path is None:
            return given or ""
        try:
            return read_secret_file(path)
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else error
            raise AuthenticationError(f"the file of {self.whose}{FILES[name]} cannot be used: {path}: {why}") from None


def with_files(login: Mapping[str, Any], whose: str = "") -> dict[str, Any]:
    """The arguments of redis-py's connections for a login.

    Args:
        login: ``username``, ``password`` and the settings of `FILES`, as far as a URL has them; all else in it is kept.
        whose: See `LoginFiles`.
    """
    paths = {setting: login[setting] for setting in FILES.values() if setting in login}
    if not paths:
        return dict(login)
    provider = LoginFiles(paths, login.get("username"), login.get("password"), whose)
    return {name: value for name, value in login.items() if name not in {*FILES, *paths}} | {
        "credential_provider": provider
    }


def read_secret_file(path: str) -> bytes:
    """What is in a file, without the ends of lines behind it.

    Raises:
        OSError: there is no such file, or it may not be read.
        ValueError: it is empty, too long or no regular file; the message has nothing of its content.
    """
    if not stat.S_ISREG(Path(path).stat().st_mode):  # to open a pipe would wait for somebody who writes
        raise ValueError("it is no regular file")
    with Path(path).open("rb") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise ValueError(f"it is longer than {MAX_BYTES} bytes")
    if not (text := content.rstrip(b"\r\n")):
        raise ValueError("it is empty")
    return text
