"""What can go wrong, one class for each thing that a caller can act on."""


class StatefulRouteError(Exception):
    """The base of all errors that this package raises on purpose.

    Attributes:
        maybe_written: False when it is certain that the call has changed nothing in the store; True when it may have.
    """

    maybe_written: bool = False

    def __init__(self, *args: object, maybe_written: bool | None = None) -> None:
        super().__init__(*args)
        if maybe_written is not None:
            self.maybe_written = maybe_written


class InvalidArgument(StatefulRouteError, ValueError):  # noqa: N818  the reference's name
    """A name, uid, ordinal or value that cannot be stored; raised before anything is sent."""


class ScriptMissing(StatefulRouteError, FileNotFoundError):  # noqa: N818  names the fact
    """The installation lacks one of its Lua scripts: the wheel is damaged or was built without it."""


class StoreUnavailable(StatefulRouteError):  # noqa: N818  the reference's name
    """Redis did not answer in time, is not ready to (LOADING, BUSY, CLUSTERDOWN …), or the connection broke.

    The same error is raised when a read-only replica is reached where the primary should be (a failover is under way,
    or the address is the replica's own), and when the primary refuses writes because too few replicas are up to date
    (NOREPLICAS, ``min-replicas-to-write``).

    A write may have been carried out, unless ``maybe_written`` says that it was not: the connection was refused, or
    the server said that it did nothing.
    """

    maybe_written = True


class StoreBusy(StoreUnavailable):
    """No connection to Redis became free in time: this process has too many calls under way. Nothing was sent.

    It says nothing of Redis, which may be well and idle.
    """

    maybe_written = False


class Deposed(StoreUnavailable):
    """This operator may not write now: another one may lead by now, or does; nothing was written.

    It passes when its Lease is renewed: then the clocks of all servers have been noted anew.
    """

    maybe_written = False


class StoreRejected(StatefulRouteError):  # noqa: N818  the reference's name
    """Redis answered, and refused: no permission, out of memory, a wrong type. Somebody has to act before it works.

    Nothing was written by the refused call, unless ``maybe_written`` is True: a script was stopped half-way, by a
    user's missing permission for one of the commands that it calls.
    """


class AuthenticationFailed(StoreRejected):
    """Redis wants another user, password or permission than the URL (or its Secret) gives.

    Or a file that the URL names for one cannot be used; it is looked at again with the next connection.
    """


class UnfitServer(StoreRejected):
    """The server cannot be the store: too old, without scripts, a Sentinel, or a node of a Cluster by mistake."""


class LayoutMismatch(StatefulRouteError):  # noqa: N818  names the fact
    """The store was written by a version of this project whose layout this version cannot follow."""


class OwnedElsewhere(StatefulRouteError):  # noqa: N818  names the fact
    """Another owner (a second cluster, or another StatefulRoute) writes this service; nothing was written.

    Attributes:
        owner: ``<cluster id>/<StatefulRoute uid>`` as the store holds it.
    """

    def __init__(self, service: str, owner: str) -> None:
        super().__init__(f"service {service!r} in this store belongs to another owner ({owner})")
        self.owner = owner


class NoPodAvailable(StatefulRouteError):  # noqa: N818  names the fact
    """The uid needs a pod, and no pod of the service takes new ones: none is READY and alive, or all are full.

    Nothing was written. It passes when a pod becomes READY.
    """


class AlreadyRunning(StatefulRouteError):  # noqa: N818  names the fact
    """What should be started is running already."""


class NotRunning(StatefulRouteError):  # noqa: N818  names the fact
    """What should be stopped, or used, has not been started, or was stopped."""


class Replaced(StatefulRouteError):  # noqa: N818  names the fact
    """A state was published by an incarnation of the pod that has a successor; it was not written."""


class InTransit(StatefulRouteError):  # noqa: N818  names the fact
    """The pod is just giving the uid away: it can neither be taken nor served for a moment. Nothing was written."""


class ExtraMissing(StatefulRouteError, ImportError):  # noqa: N818  names the fact
    """What was asked for needs a package that is not installed; the message says which."""
