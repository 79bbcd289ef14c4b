"""What can go wrong, one class for each thing that a caller can act on."""


class StatefulRouteError(Exception):
    """The base of all errors that this package raises on purpose."""


class InvalidArgument(StatefulRouteError, ValueError):  # noqa: N818  the reference's name
    """A name, uid or ordinal that cannot be stored; raised before anything is sent."""


class StoreUnavailable(StatefulRouteError):  # noqa: N818  the reference's name
    """Redis did not answer in time or the connection broke.

    A write that was under way may have been carried out; every script can be repeated safely.
    """


class StoreRejected(StatefulRouteError):  # noqa: N818  the reference's name
    """Redis answered, and refused: wrong password, no permission, out of memory, a read-only replica, a wrong type.

    Nothing was written by the refused call.
    """


class AuthenticationFailed(StoreRejected):
    """Redis wants another user or password than the URL (or its Secret) holds."""


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


class Replaced(StatefulRouteError):  # noqa: N818  names the fact
    """A state was published by an incarnation of the pod that has a successor; it was not written."""
