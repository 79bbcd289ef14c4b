"""The names of all Redis keys (reference §2, design §3), and the buckets that put a uid's keys into one hash slot."""

import re
from binascii import crc_hqx
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import product
from string import ascii_lowercase, ascii_uppercase, digits
from typing import NamedTuple

from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot

from stateful_route.domain.errors import InvalidArgument
from stateful_route.domain.names import MAX_UID_BYTES, check_name, check_uid

META = "sf:meta"
"""Hash: the layout version of the store."""

BUCKETS = REDIS_CLUSTER_HASH_SLOTS
"""As many as Redis Cluster has hash slots, in every topology: data moves from one server to a Cluster unchanged."""

_LINK = re.compile(rb"sf:\{(?P<namespace>[^:{}]+):lk:(?P<uid>[^}]+)\}(?P<name>[^{}]+)", re.DOTALL)

_INDEX = re.compile(rb"sf:\{[^{}]+\}ix:(?P<namespace>[^:{}]+):(?P<name>[^{}]+)", re.DOTALL)
INDEXES = "sf:{*}ix:*"
"""A glob pattern of the indexes of all services."""

_TAG_LETTERS = digits + ascii_uppercase + ascii_lowercase


@dataclass(frozen=True, slots=True)
class Service:
    """A routed service: a namespace and a service name, checked, and the keys that belong to it as a whole.

    Raises:
        InvalidArgument: a name that is empty, blank, too long or has a brace.
    """

    namespace: str
    name: str

    def __post_init__(self) -> None:
        check_name(self.namespace, "namespace")
        if ":" in self.namespace:
            raise InvalidArgument(f"the namespace {self.namespace!r} has a colon, which parts the names in a Redis key")
        check_name(self.name, "service name")

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"

    @property
    def states(self) -> str:
        """Hash: pod index → service state, JSON."""
        return f"sf:{{{self.namespace}:state:{self.name}}}"

    @property
    def records(self) -> str:
        """Hash: pod index → the operator's record, JSON."""
        return f"{self.states}#op"

    @property
    def config(self) -> str:
        """Hash: what callers need of the StatefulRoute's spec."""
        return f"{self.states}#cfg"

    @property
    def owner(self) -> str:
        """String: who writes the operator's records."""
        return f"{self.states}#own"

    @property
    def changes(self) -> str:
        """Stream: effective state changes."""
        return f"{self.states}#ev"

    @property
    def moves(self) -> str:
        """Stream: links that have moved."""
        return f"{self.states}#mv"

    @property
    def hints(self) -> str:
        """Hash: pod index → when a caller last could not reach it."""
        return f"{self.states}#hi"

    @property
    def counts(self) -> str:
        """Hash: pod index → how many links it has; on one server the scripts that change links keep it."""
        return f"{self.states}#n"

    @property
    def channel(self) -> str:
        """Channel: tells at once what the two streams keep, and of hints."""
        return f"{self.states}#ch"

    @property
    def workload(self) -> str:
        """String: one word for the whole service."""
        return f"sf:{{{self.namespace}:workload:{self.name}}}"

    def links(self, uid: str) -> str:
        """Hash: service → pod index, all links of one uid."""
        return f"sf:{{{self.namespace}:lk:{uid}}}"

    def link(self, uid: str) -> str:
        """String: the pod index that one uid is linked to."""
        return f"sf:{{{self.namespace}:lk:{uid}}}{self.name}"

    def bucket(self, uid: str) -> int:
        """The hash slot that all keys of this uid share, 0 to 16,383."""
        return key_slot(f"{self.namespace}:lk:{uid}".encode(errors="surrogateescape"))

    def index(self, bucket: int) -> str:
        """Sorted set: the reverse index of one bucket; it lies in that hash slot, too."""
        return f"sf:{{{tags()[bucket]}}}ix:{self.namespace}:{self.name}"

    def floor(self, bucket: int) -> str:
        """String: an epoch that none of the bucket is above, left behind when its index goes; in the same hash slot.

        No service is called so, as none has a brace; and ACLs that give a namespace its indexes give it this, too.
        """
        return f"{self.index(bucket)}}}hi"

    def indexes(self, buckets: range) -> list[str]:
        """`index` of many buckets: a walk names all 16,384."""
        rest = f"}}ix:{self.namespace}:{self.name}"
        return [f"sf:{{{tag}{rest}" for tag in tags()[buckets.start : buckets.stop]]

    def uid_keys(self, uid: str) -> tuple[str, str, str]:
        """(link, links, index) of a uid; raises `InvalidArgument` for one that cannot be stored."""
        check_uid(uid)
        return self.link(uid), self.links(uid), self.index(self.bucket(uid))

    def bucket_keys(self, bucket: int, uids: Iterable[str]) -> list[str]:
        """The keys of a script on some uids of one bucket: the index, each uid's link and links."""
        keys = [self.index(bucket)]
        for uid in uids:
            keys += (self.link(uid), self.links(uid))
        return keys


class Link(NamedTuple):
    """Whose link a key holds."""

    service: Service
    uid: str


def link_of(key: bytes) -> Link | None:
    """Whose link stands under the key; None: it is the key of something else, or of no name that can be stored."""
    if (parts := _LINK.fullmatch(key)) is None or len(parts["uid"]) > MAX_UID_BYTES:
        return None
    namespace, uid, name = (parts[of].decode(errors="surrogateescape") for of in ("namespace", "uid", "name"))
    try:
        return Link(service_of(namespace, name), uid)
    except InvalidArgument:
        return None


def indexed_by(key: bytes) -> Service | None:
    """Whose index stands under the key; None: it is the key of something else."""
    if (parts := _INDEX.fullmatch(key)) is None:
        return None
    namespace, name = (parts[of].decode(errors="surrogateescape") for of in ("namespace", "name"))
    try:
        return service_of(namespace, name)
    except InvalidArgument:
        return None


def service_of(namespace: str, name: str) -> Service:
    """`Service`, made once for callers that name the same few again and again; raises what it raises."""
    try:
        return _made(namespace, name)
    except TypeError:  # no text, and not hashable either
        return Service(namespace, name)


_made = lru_cache(maxsize=1024)(Service)


@cache
def tags() -> tuple[str, ...]:
    """For each hash slot the alphabetically first text of three letters or digits that hashes to it.

    Part of the layout: another rule would be another layout version. Takes some 20 ms, once.
    """
    found: dict[int, str] = {}
    for head in product(_TAG_LETTERS, repeat=2):
        start = "".join(head)
        so_far = crc_hqx(start.encode(), 0)
        for last in _TAG_LETTERS:
            found.setdefault(crc_hqx(last.encode(), so_far) % BUCKETS, start + last)
        if len(found) == BUCKETS:
            break
    return tuple(found[slot] for slot in range(BUCKETS))
