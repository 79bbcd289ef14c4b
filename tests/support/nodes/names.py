"""What the images are called on the nodes."""

from dataclasses import dataclass
from typing import Final

from stateful_route import __version__

PAUSE: Final = "localhost/pause:1"
"""What holds a pod's namespaces."""


@dataclass(frozen=True)
class Images:
    """The images that tests install.

    Attributes:
        operator: By the chart's own version.
        next: The same image by another name: what an upgrade of the operator is to Kubernetes.
        room: The operator's image with the tests' own modules: a routed pod.
    """

    operator: str = f"localhost/stateful-route:{__version__}"
    next: str = f"localhost/stateful-route:{__version__}-next"
    valkey: str = "localhost/valkey:9.1"
    room: str = "localhost/room:1"


IMAGES: Final = Images()
