"""Sees that this machine has what tests need: a control plane, Helm and promtool; builds what is missing.

So it does with the programs of a node, where root has containerd to run them with. The control plane is started once,
and ended. Run before tests that start several at once, whose own progress nobody would see.
"""

import os
import shutil
import sys
from functools import partial

from stateful_route.devcluster.builds import NODE, build
from stateful_route.devcluster.control_plane import ControlPlane
from stateful_route.devcluster.errors import DevClusterError
from stateful_route.devcluster.helm import find_helm
from stateful_route.devcluster.promtool import find_promtool


def main() -> int:
    """Exit code 0, or 1 where none can be had: the reasons are printed."""
    tell = partial(print, flush=True)
    try:
        ControlPlane.start(nodes=1, progress=tell).stop()
        find_helm(tell)
        find_promtool(tell)
        if os.geteuid() == 0 and shutil.which("containerd") is not None:
            build(NODE, progress=tell)
    except DevClusterError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
