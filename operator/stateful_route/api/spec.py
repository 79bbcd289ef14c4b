"""What the user asks for: ``StatefulRoute.spec``.

Each field is explained in the CRD (``kubectl explain sroute.spec``); here are the same types, defaults and bounds, and
the rules that the CRD states in CEL, for objects that an older CRD let in.
"""

import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from stateful_route.api.model import Int32, Int64, Model, ObjectName, Ordinal, Port

SCHEMES = ("redis", "rediss", "unix", "redis+cluster", "rediss+cluster", "redis+sentinel", "rediss+sentinel")
"""The kinds of store a URL can name."""

PLACEHOLDERS = ("pod", "ordinal", "service", "namespace", "ip", "port")
"""What ``address.template`` can name, each in braces."""

MIN_REPAIR_PERIOD_SECONDS = 30
"""A walk through the index of a million links takes about a second; more often than this it would never rest."""

API_VERSION = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/v[0-9]+((alpha|beta)[0-9]+)?$"
"""``group/version``: no workload with ordinals is of the core."""

LossPolicy = Literal["Move", "Keep"]

_PASSWORD = re.compile(r"://.*:.*@|[?&](?i:[^=&]*password|[^=&]*%[^=&]*)=")
"""A password before the host or as a setting; a setting's name that is %-encoded may be one, too."""

_TEMPLATE = re.compile(r"([^{}]|[{](" + "|".join(PLACEHOLDERS) + r")[}])*")
_PERCENT = re.compile(r"(100|[1-9]?[0-9])%")


def _no_password(url: str) -> str:
    if _PASSWORD.search(url):
        raise ValueError("a url with a password belongs in a Secret that redis.urlSecretRef names")
    return url


def _known_placeholders(template: str) -> str:
    if not _TEMPLATE.fullmatch(template):
        raise ValueError("braces may only enclose " + ", ".join(PLACEHOLDERS))
    return template


def _count_or_percent(value: int | str) -> int | str:
    if (value < 0) if isinstance(value, int) else not _PERCENT.fullmatch(value):
        raise ValueError('write a number of pods from 0, or a percentage from "0%" to "100%"')
    return value


def _never_or_seldom(seconds: int) -> int:
    if 0 < seconds < MIN_REPAIR_PERIOD_SECONDS:
        raise ValueError(f"write 0 (never) or at least {MIN_REPAIR_PERIOD_SECONDS}")
    return seconds


class WorkloadRef(Model):
    """The workload whose pods are routed; without a name, the one named like the resource."""

    api_version: Annotated[str, Field(min_length=1, max_length=317, pattern=API_VERSION)] = "apps/v1"
    kind: Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[A-Za-z][A-Za-z0-9]*$")] = "StatefulSet"
    name: ObjectName | None = None

    @model_validator(mode="after")
    def _with_ordinals(self) -> Self:
        if self.api_version.startswith("apps/") and (self.api_version, self.kind) != ("apps/v1", "StatefulSet"):
            raise ValueError("of the group apps, only a StatefulSet (apps/v1) gives its pods lasting ordinals")
        return self


class SecretKeyRef(Model):
    """A key of a Secret in the resource's namespace."""

    name: ObjectName
    key: Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[-._a-zA-Z0-9]+$")] = "url"


RedisURL = Annotated[
    str,
    Field(min_length=1, max_length=2048, pattern="^(" + "|".join(map(re.escape, SCHEMES)) + r")://\S+$"),
    AfterValidator(_no_password),
]


class Redis(Model):
    """Where links and states are kept; with neither field, the operator's own store."""

    url: RedisURL | None = None
    url_secret_ref: SecretKeyRef | None = None

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.url is not None and self.url_secret_ref is not None:
            raise ValueError("set url or urlSecretRef, not both")
        return self


class Address(Model):
    """How callers address a pod; without a template, by its name in the cluster's DNS."""

    port: Port | None = None
    template: Annotated[str, Field(min_length=1, max_length=1024), AfterValidator(_known_placeholders)] | None = None

    @model_validator(mode="after")
    def _port_for_its_placeholder(self) -> Self:
        if self.port is None and "{port}" in (self.template or ""):
            raise ValueError("the template uses {port}: set address.port")
        return self


class Placement(Model):
    """Which pod a new user gets; a pod without a weight counts 1, ``max_links_per_pod`` 0 means no limit."""

    strategy: Literal["GoodRange", "RoundRobin", "WeightedRoundRobin", "LeastConnections"] = "GoodRange"
    load_range: Int64 = 500
    weights: Annotated[dict[Ordinal, Annotated[int, Field(ge=0, le=1000)]] | None, Field(max_length=8192)] = None
    max_links_per_pod: Int32 = 0

    @model_validator(mode="after")
    def _weights_when_weighted(self) -> Self:
        if self.strategy == "WeightedRoundRobin" and not self.weights:
            raise ValueError("the strategy WeightedRoundRobin needs weights")
        return self


class Links(Model):
    """How long links live."""

    temporary_ttl_seconds: Annotated[Int32, Field(ge=90, alias="temporaryTTLSeconds")] = 300
    retain_after_remove_seconds: Int32 = 60
    deletion_policy: Literal["Keep", "Delete"] = "Keep"


class TCPSocket(Model):
    """A probe that connects."""

    port: Port


class HTTPGet(Model):
    """A probe that sends a GET request."""

    path: Annotated[str, Field(min_length=1, max_length=1024, pattern=r"^/\S*$")] = "/"
    port: Port
    scheme: Literal["HTTP", "HTTPS"] = "HTTP"


class Probe(Model):
    """How a pod is asked itself when a caller reports it: in exactly one of the two ways."""

    tcp_socket: TCPSocket | None = None
    http_get: HTTPGet | None = None
    timeout_seconds: Annotated[int, Field(ge=1, le=30)] = 2

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.tcp_socket is None) == (self.http_get is None):
            raise ValueError("set tcpSocket or httpGet, exactly one of them")
        return self


class Health(Model):
    """When a pod counts as alive; without a container, the restarts of the first one count."""

    heartbeat: Literal["Auto", "Required", "Ignored"] = "Auto"
    expire_seconds: Annotated[int, Field(ge=5, le=3600)] = 60
    container: Annotated[str | None, Field(min_length=1, max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")] = (
        None
    )
    probe: Probe | None = None


class Drain(Model):
    """How a pod that is about to stop is emptied."""

    mode: Literal["App", "Operator"] = "App"
    deadline_seconds: Annotated[int, Field(ge=1, le=3600)] = 20
    links_per_second: Annotated[int, Field(ge=1, le=1_000_000)] = 2000


class Startup(Model):
    """What links of failed pods wait for when no pod served; ``min_available`` is pods (2) or a share ("100%")."""

    min_available: Annotated[int | str, AfterValidator(_count_or_percent)] = "100%"
    timeout_seconds: Annotated[int, Field(ge=0, le=3600)] = 120


class Failover(Model):
    """When and how fast the users of a failed pod are moved; ``max_unavailable`` is pods (2) or a share ("50%")."""

    delay_seconds: Annotated[int, Field(ge=0, le=3600)] = 10
    on_restart: LossPolicy = "Move"
    on_replace: LossPolicy = "Move"
    max_unavailable: Annotated[int | str, AfterValidator(_count_or_percent)] = "50%"
    startup: Startup = Startup()
    batch_size: Annotated[int, Field(ge=1, le=200)] = 200
    max_links_per_second: Annotated[int, Field(ge=1, le=1_000_000)] = 20_000


class Repair(Model):
    """Upkeep of the index; a period of 0 means never."""

    period_seconds: Annotated[Int32, AfterValidator(_never_or_seldom)] = 600


class StatefulRouteSpec(Model):
    """The whole spec; ``StatefulRouteSpec()`` is what the API server makes of an empty one."""

    service_name: Annotated[str | None, Field(min_length=1, max_length=253, pattern=r"^[!-z|~]+$")] = None
    workload_ref: WorkloadRef = WorkloadRef()
    redis: Redis = Redis()
    address: Address = Address()
    placement: Placement = Placement()
    links: Links = Links()
    health: Health = Health()
    drain: Drain = Drain()
    failover: Failover = Failover()
    repair: Repair = Repair()
