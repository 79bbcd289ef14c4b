"""What can go wrong, one class for each thing that a developer can act on."""

from stateful_route.domain.errors import StatefulRouteError


class DevClusterError(StatefulRouteError):
    """The base of the errors of this package."""


class ToolchainMissing(DevClusterError):  # noqa: N818  names the fact
    """There is no Go that is new enough, and none could be installed."""


class BuildFailed(DevClusterError):  # noqa: N818  names the fact
    """A binary could not be built; nothing was put into the cache.

    Attributes:
        binary: the name of the binary.
        output: the compiler's last lines.
    """

    def __init__(self, binary: str, reason: str, output: str) -> None:
        super().__init__(f"building {binary} failed: {reason}\n{output}".rstrip())
        self.binary = binary
        self.output = output


class DownloadFailed(BuildFailed):
    """A Go module could not be fetched: no network, a wrong GOPROXY, or a version that is not there."""


class ControlPlaneUnavailable(DevClusterError):  # noqa: N818  names the fact
    """No Kubernetes control plane could be found or started; the message says what was tried."""


class NotOurs(DevClusterError):  # noqa: N818  names the fact
    """This control plane was not started by us from binaries, so its components cannot be stopped one by one."""


class KubectlFailed(DevClusterError):  # noqa: N818  names the fact
    """``kubectl`` ended with an error or did not end in time; the message holds what it wrote."""


class StoreNotStarted(DevClusterError):  # noqa: N818  names the fact
    """The embedded store did not come up; the message holds the end of its log."""
