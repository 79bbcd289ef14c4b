"""Builds the control plane's programs from Go modules, once: the cache is shared by all checkouts of a user."""

import hashlib
import re
import shutil
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import Final

from stateful_route.devcluster.errors import BuildFailed, DownloadFailed
from stateful_route.devcluster.run_folder import RunFolder, locked
from stateful_route.devcluster.toolchain import (
    Progress,
    Toolchain,
    cache_folder,
    find_toolchain,
    go_environment,
    silent,
)
from stateful_route.devcluster.versions import (
    ETCD_MODULE,
    HELM_MODULE,
    KUBERNETES_MODULE,
    KWOK_MODULE,
    NODE_MODULE,
    PROMTOOL_MODULE,
    GoModule,
)

_BUILD_SECONDS: Final = 3600.0  # the API server takes four minutes on two idle cores; ten times that on a loaded one
_TAIL_LINES: Final = 20

_DOWNLOAD_TROUBLE: Final = re.compile(
    r"dial tcp|no such host|i/o timeout|TLS handshake|connection re(fused|set)|module lookup disabled"
    r"|unknown revision|reading \S+/@v/|proxyconnect|\b(403 Forbidden|404 Not Found|410 Gone|50\d )"
)


@dataclass(frozen=True, slots=True)
class Binary:
    """A program: the module that pins it, and its main package."""

    module: GoModule
    package: str


def _kubernetes(name: str, module: GoModule = KUBERNETES_MODULE) -> Binary:
    return Binary(module, f"{module.path}/cmd/{name}")


def _kwok(name: str) -> Binary:
    return Binary(KWOK_MODULE, f"{KWOK_MODULE.path}/cmd/{name}")


# A further program is a line here, and a `tool` line in its module's go.mod.
BINARIES: Final = {
    "kube-apiserver": _kubernetes("kube-apiserver"),
    "kube-controller-manager": _kubernetes("kube-controller-manager"),
    "kube-scheduler": _kubernetes("kube-scheduler"),
    "kubectl": _kubernetes("kubectl"),
    "etcd": Binary(ETCD_MODULE, ETCD_MODULE.path),
    "kwok": _kwok("kwok"),
    "kwokctl": _kwok("kwokctl"),
    "kubelet": _kubernetes("kubelet", NODE_MODULE),
    "kube-proxy": _kubernetes("kube-proxy", NODE_MODULE),
    "helm": Binary(HELM_MODULE, f"{HELM_MODULE.path}/cmd/helm"),
    "promtool": Binary(PROMTOOL_MODULE, f"{PROMTOOL_MODULE.path}/cmd/promtool"),
}


NODE: Final = ("kubelet", "kube-proxy")
"""What a real node runs beside containerd, which distributions have."""

CONTROL_PLANE: Final = tuple(name for name in BINARIES if name not in {*NODE, "helm", "promtool"})
"""What a control plane runs with; Helm is for who installs on it, promtool for who checks the chart's alerts."""


def build(names: Sequence[str] = CONTROL_PLANE, *, progress: Progress = silent) -> dict[str, Path]:
    """The paths of ``names`` (keys of `BINARIES`), built where the cache does not have them.

    A control plane takes ten minutes and 2 GB of memory on two cores, when nothing is cached. Two processes never build
    at the same time: the second waits for the first, then finds the cache full. An interrupted build leaves nothing.

    Raises:
        ToolchainMissing: no Go, and none could be installed.
        BuildFailed: the compiler refused, or an hour was not enough; `DownloadFailed` when a module is out of reach.
        TimeoutError: another process has been building for more than an hour.
    """
    toolchain = find_toolchain(_needed_release(), progress)
    paths = {name: _path(name, toolchain) for name in names}
    if missing := _missing(paths):
        cache = cache_folder()
        cache.mkdir(parents=True, exist_ok=True)
        with locked(
            cache / "build.lock",
            timeout_seconds=_BUILD_SECONDS,
            on_wait=lambda: progress("another process is building the control plane; waiting for it …"),
        ):
            missing = _missing(paths)
            for position, name in enumerate(missing, start=1):
                progress(f"building {name} ({position} of {len(missing)}) …")
                started = time.monotonic()
                _build(name, paths[name], toolchain)
                progress(f"built {name} in {time.monotonic() - started:.0f} s")
    return paths


def module_text(module: GoModule, name: str) -> str:
    """The text of ``go.mod`` or ``go.sum`` of ``module``."""
    return (files("stateful_route.devcluster") / "modules" / module.folder / name).read_text(encoding="utf-8")


def _missing(paths: dict[str, Path]) -> list[str]:
    return [name for name, path in paths.items() if not path.exists()]


def _needed_release() -> tuple[int, ...]:
    """The newest ``go`` line of the modules."""
    lines = [
        re.search(r"^go (\S+)$", module_text(binary.module, "go.mod"), re.MULTILINE) for binary in BINARIES.values()
    ]
    return max(tuple(map(int, line[1].split("."))) for line in lines if line is not None)


def _path(name: str, toolchain: Toolchain) -> Path:
    """The binary's place in the cache. What could change its content is in the key."""
    module = BINARIES[name].module
    parts = (
        module_text(module, "go.mod"),
        module_text(module, "go.sum"),
        module.ldflags,
        toolchain.version,
        toolchain.platform,
        *filter(None, [module.tags]),
    )
    key = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
    return cache_folder() / "bin" / f"{module.folder}-{module.version}-{key}" / name


def _build(name: str, path: Path, toolchain: Toolchain) -> None:
    binary = BINARIES[name]
    path.parent.mkdir(parents=True, exist_ok=True)
    # Beside its final place, so that the rename is atomic; the build lock makes the name ours.
    partial = path.with_name(f".{name}.partial")
    command = [str(toolchain.go), "build", "-mod=readonly", "-trimpath", "-ldflags", binary.module.ldflags]
    if binary.module.tags:
        command += ["-tags", binary.module.tags]
    # Leaving the folder kills the compiler and its children, so an interrupted build ends with us.
    with RunFolder.create("build") as folder, as_file(files("stateful_route.devcluster") / "modules") as modules:
        try:
            module = shutil.copytree(modules / binary.module.folder, folder.path / "module")
            log = folder.path / "log"
            with log.open("wb") as output:
                exit_code = subprocess.run(  # noqa: S603
                    [*command, "-o", str(partial), binary.package],
                    cwd=module,
                    env=folder.environment(go_environment()),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    check=False,
                    timeout=_BUILD_SECONDS,
                    start_new_session=True,  # Ctrl-C reaches us alone, and we end the compiler
                ).returncode
            if exit_code != 0:
                raise _explained(name, exit_code, _tail(log))
            partial.replace(path)
        except subprocess.TimeoutExpired as error:
            raise BuildFailed(name, f"it took longer than {_BUILD_SECONDS:.0f} s", _tail(log)) from error
        finally:
            partial.unlink(missing_ok=True)


def _explained(name: str, exit_code: int, output: str) -> BuildFailed:
    if _DOWNLOAD_TROUBLE.search(output):
        return DownloadFailed(name, "a Go module could not be fetched; check the network and `go env GOPROXY`", output)
    return BuildFailed(name, f"`go build` ended with {exit_code}", output)


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-_TAIL_LINES:])
