"""What all reconcilers of this process share."""

from dataclasses import dataclass, field

from stateful_route.domain.meter import UNMETERED, Meter
from stateful_route.kube.client import Kube
from stateful_route.reconcile.claims import Claims
from stateful_route.reconcile.definition import Definition
from stateful_route.reconcile.grants import Watches
from stateful_route.reconcile.listings import Listings
from stateful_route.reconcile.revisions import Revisions
from stateful_route.reconcile.standstill import Pulse
from stateful_route.reconcile.stores import Stores
from stateful_route.reconcile.watchdog import Watchdog


@dataclass(frozen=True, slots=True)
class Timing:
    """How often things are looked at again; seconds."""

    resync_seconds: float = 30.0
    """Between two full passes: LIST against Redis. Each refreshes our own entries, which foreign readers expire."""
    refresh_seconds: float = 5.0
    """How old a caller's view of the states may be; after two of these, nobody links to a denied pod any more."""
    finish_seconds: float = 60.0
    """How long the deletion of a StatefulRoute waits for an unreachable store."""
    probe_seconds: float = 60.0
    """Between two writes of our own that must come back by the watch."""
    watch_seconds: float = 90.0
    """How late the watch may be: kopf reconnects one that has been silent for 70 s; what is dumb for longer is dead."""


@dataclass(frozen=True, slots=True)
class Environment:
    """The API server, the stores, who we are, how patient, and who hears of what is done."""

    kube: Kube
    stores: Stores
    cluster: str
    watchdog: Watchdog
    timing: Timing
    claims: Claims
    definition: Definition
    watches: Watches
    revisions: Revisions
    listings: Listings
    meter: Meter = UNMETERED
    pulse: Pulse = field(default_factory=Pulse)
