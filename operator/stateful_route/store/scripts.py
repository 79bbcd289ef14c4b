"""The Lua scripts of ``lua/``: loaded once per process, run by their hash, sent whole where a server has lost them."""

import hashlib
import re
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

from stateful_route.domain.errors import ScriptMissing
from stateful_route.resources import shipped

_CALLED = re.compile(r"redis\.p?call\('([A-Z]+)'")
_INCLUDE = re.compile(r"^-- include (lib/\w+\.lua)\n", re.MULTILINE)

Argument = str | int | float | bytes

READS_ONLY = frozenset(
    {
        "checkServer",
        "countLinks",
        "highestEpoch",
        "isOwner",
        "listLinks",
        "readLinks",
        "statefulGetLink",
        "statefulGetLinkIfPersist",
        "statefulGetService",
        "statefulGetServicePod",
        "statefulGetServiceSince",
    }
)

REPEATABLE = READS_ONLY | {
    "statefulSetLinkIfAbsent",  # finds its own link, and gives the same pod and epoch
    "statefulComputeLinkIfAbsent",  # as well; or a better informed caller's, who has moved it since
    "statefulGetLinkService",  # drops what has expired, once
    "reportUnreachable",
    "statefulStopPod",  # a later end stays
    "beginCount",  # a second one finds the first, and waits
    "repairLinks",  # makes the index agree with the links; what the first run has mended is not counted again
}
"""Scripts whose repeat is harmless although the first run may have done its work and only its reply was lost.

Not among them: statefulSetLink, statefulTrySetLink and the removals (between the two runs the uid may have got another
link, by right, which the repeat would take away), migrateLinks (what has moved would be told as overtaken),
statefulSetState (an older word would be published over a newer one).
"""


DEADLINE_CHECK = """\
do
  local time = redis.call('TIME')
  local late = time[1] * 1000 + math.floor(time[2] / 1000) - tonumber(table.remove(ARGV))
  if late >= 0 then
    return redis.error_reply('DEPOSED the deadline of this write has passed ' .. late .. ' ms ago')
  end
end
"""
"""Stands before each script that an elected operator runs and that writes; see `timed`."""


class Script(NamedTuple):
    """One script: its name, its text, and the hash by which EVALSHA finds it."""

    name: str
    source: str
    sha: str

    @property
    def writes(self) -> bool:
        """False for a script that only reads."""
        return self.name not in READS_ONLY

    @property
    def repeatable(self) -> bool:
        """True when a second run does no harm, whatever became of the first."""
        return self.name in REPEATABLE


class Call(NamedTuple):
    """A script with its keys (all that it touches, so that it runs on a Redis Cluster) and its arguments."""

    script: Script
    keys: Sequence[str]
    args: Sequence[Argument]
    counts: Sequence[str] = ()
    """The last keys where there is one server, and left out on a Cluster: the counts of the services that change."""

    def words(self, how: Sequence[str], *, cluster: bool) -> tuple[Argument, ...]:
        """The command; ``how``: EVALSHA and the hash, or EVAL and the text."""
        keys = self.keys if cluster else (*self.keys, *self.counts)
        return (*how, len(keys), *keys, *self.args)


@cache
def script(name: str) -> Script:
    """The script ``lua/<name>.lua``, with the files of ``lua/lib/`` that it includes in the place of these lines.

    Raises:
        ScriptMissing: the installation has no such script.
    """
    source = _INCLUDE.sub(lambda line: _text(line[1]), _text(f"{name}.lua"))
    return Script(name, source, hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest())


@cache
def called_commands() -> tuple[str, ...]:
    """The names of all commands that the scripts call, but for the one that wakes callers (`Store.publish`)."""
    names = (file.name.removesuffix(".lua") for file in shipped("lua").iterdir() if file.name.endswith(".lua"))
    return tuple(sorted({command for name in names for command in _CALLED.findall(script(name).source)}))


def _text(path: str) -> str:
    try:
        return shipped("lua").joinpath(path).read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ScriptMissing(f"this installation of stateful-route has no script {path}: install it anew") from error


@cache
def timed(one: Script) -> Script:
    """The same script with a deadline: its last argument, ms since the epoch by the clock of the server that runs it.

    A server that gets it later writes nothing and answers DEPOSED. The script itself sees the arguments that it knows,
    so none of them has to be written for it. A script runs as a whole: what begins in time ends before anything that a
    successor sends.
    """
    source = DEADLINE_CHECK + one.source
    return Script(one.name, source, hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest())
