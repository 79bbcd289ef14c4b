"""The ``kubectl`` command for one kubeconfig."""

import os
import subprocess
from pathlib import Path
from typing import Final

from stateful_route.devcluster.errors import KubectlFailed

_CALL_SECONDS: Final = 60.0


class Kubectl:
    """Calls ``kubectl`` with a kubeconfig of its own; the user's own settings are neither read nor written."""

    def __init__(self, path: Path, kubeconfig: Path, cache: Path) -> None:
        self.path = path
        self.kubeconfig = kubeconfig
        self._cache = cache

    @property
    def environment(self) -> dict[str, str]:
        """For other programs that shall speak to this cluster: KUBECONFIG, and this kubectl first on PATH."""
        return {
            **os.environ,
            "KUBECONFIG": str(self.kubeconfig),
            "KUBECACHEDIR": str(self._cache),
            "PATH": os.pathsep.join((str(self.path.parent), os.environ.get("PATH", os.defpath))),
        }

    def __call__(self, *arguments: str, text: str = "", timeout_seconds: float = _CALL_SECONDS) -> str:
        """What ``kubectl`` prints; ``text`` is its standard input (``"apply", "-f", "-"``).

        Raises:
            KubectlFailed: it ended with an error, or not within ``timeout_seconds``.
        """
        call = f"kubectl {' '.join(arguments)}"
        try:
            done = subprocess.run(  # noqa: S603
                [self.path, *arguments],
                env=self.environment,
                input=text,
                capture_output=True,
                text=True,
                check=False,
                timeout=timeout_seconds,
            )
        except subprocess.TimeoutExpired as error:
            raise KubectlFailed(f"{call}: no answer within {timeout_seconds:.0f} s") from error
        if done.returncode != 0:
            raise KubectlFailed(f"{call}: {done.stderr.strip() or f'ended with {done.returncode}'}")
        return done.stdout
