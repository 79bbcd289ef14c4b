"""What this machine must have to be a node, and its control groups."""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

PROGRAMS: Final = ("containerd", "ctr", "runc", "busybox", "nft", "ip", "nsenter")
PLUGINS: Final = ("bridge", "host-local", "loopback")
PLUGIN_FOLDERS: Final = (Path("/usr/lib/cni"), Path("/opt/cni/bin"))
CONTROLLERS: Final = frozenset({"cpu", "cpuset", "memory", "pids"})
PATH: Final = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin"))
"""Root's programs, too: a shell of ``su`` may not have them."""

KERNEL: Final = tuple(
    Path("/proc/sys", name)
    for name in (
        "vm/overcommit_memory",
        "vm/panic_on_oom",
        "kernel/panic",
        "kernel/panic_on_oops",
        "kernel/keys/root_maxkeys",
        "kernel/keys/root_maxbytes",
    )
)
"""What a kubelet sets to its own liking, for the whole machine."""

_SECONDS: Final = 10.0


def unfit() -> str:
    """Why no node can run here, and what to do about it; empty: one can."""
    if os.geteuid() != 0:
        return "nodes need root: containers, network namespaces and control groups are made"
    missing = [name for name in PROGRAMS if program(name) is None]
    if plugin_folder() is None:
        missing.append("the CNI plugins bridge, host-local and loopback")
    if missing:
        return f"missing: {', '.join(missing)}; `make node-packages` installs what Debian has of them"
    if subprocess.run(["unshare", "--net", "true"], capture_output=True, check=False, timeout=_SECONDS).returncode:
        return "this root may not make network namespaces, as in a container without privileges"
    return _unfit_groups() or _unfit_layers()


def program(name: str) -> Path | None:
    """Where it lies; None: nowhere."""
    found = shutil.which(name, path=PATH)
    return None if found is None else Path(found)


def plugin_folder() -> Path | None:
    """The folder with the CNI plugins; None: there is none that has all."""
    return next((folder for folder in PLUGIN_FOLDERS if all((folder / name).is_file() for name in PLUGINS)), None)


def hierarchies() -> list[Path]:
    """The mounted hierarchies of control groups: one with version 2, one for each controller with version 1."""
    found = []
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, place, kind, *_ = line.split()
        if kind in {"cgroup", "cgroup2"} and place.startswith("/sys/fs/cgroup"):
            found.append(Path(place))
    return found


def remember_kernel(path: Path) -> None:
    """Write its settings down, unless they are: then kubelets run already, and these are theirs."""
    if not path.exists():
        path.write_text(json.dumps({str(one): one.read_text().strip() for one in KERNEL}), encoding="utf-8")


def restore_kernel(path: Path) -> None:
    """Set them as they were."""
    if path.exists():
        for name, value in json.loads(path.read_text(encoding="utf-8")).items():
            if Path(name).read_text().strip() != value:
                Path(name).write_text(value)
        path.unlink()


def make_groups(name: str) -> None:
    """A control group of that name in each hierarchy, in which a kubelet can make those of its pods."""
    for hierarchy in hierarchies():
        group = hierarchy / name
        group.mkdir()
        if (group / "cpuset.cpus").exists() and not (hierarchy / "cgroup.controllers").exists():
            for what in ("cpuset.cpus", "cpuset.mems"):  # empty in a new one, and nothing could run there
                (group / what).write_text((hierarchy / what).read_text())
        if _is_unified(hierarchy):
            wanted = " ".join(f"+{one}" for one in sorted(CONTROLLERS))
            for above in (hierarchy, group):
                (above / "cgroup.subtree_control").write_text(wanted)


def groups_of(prefix: str) -> Iterator[Path]:
    """All control groups whose topmost one has such a name, the deepest first."""
    for hierarchy in hierarchies():
        for top in hierarchy.glob(f"{prefix}*"):
            for folder, _, _ in os.walk(top, topdown=False):
                yield Path(folder)


def _is_unified(hierarchy: Path) -> bool:
    """Version 2, with the controllers; a hybrid layout has an empty one beside those of version 1."""
    controllers = hierarchy / "cgroup.controllers"
    return controllers.exists() and set(controllers.read_text().split()) >= CONTROLLERS


def _unfit_layers() -> str:
    """Images are mounted in layers, which a file system that is one of layers itself does not bear."""
    with tempfile.TemporaryDirectory() as folder:
        lower, upper, work, merged = (Path(folder, name) for name in ("lower", "upper", "work", "merged"))
        for one in (lower, upper, work, merged):
            one.mkdir()
        options = f"lowerdir={lower},upperdir={upper},workdir={work}"
        command = ["mount", "-t", "overlay", "overlay", "-o", options, str(merged)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_SECONDS)
        if done.returncode:
            why = done.stderr.strip()
            return f"no overlay can be mounted in {tempfile.gettempdir()}; set TMPDIR to another place: {why}"
        subprocess.run(["umount", str(merged)], capture_output=True, check=True, timeout=_SECONDS)
    return ""


def _unfit_groups() -> str:
    there = hierarchies()
    if not any(_is_unified(one) for one in there) and not {one.name for one in there} >= CONTROLLERS:
        return f"the controllers {', '.join(sorted(CONTROLLERS))} are not mounted under /sys/fs/cgroup"
    name = f"stateful-route-try-{os.getpid()}"
    try:
        make_groups(name)
    except OSError as error:
        return f"control groups cannot be made here: {error}"
    finally:
        for group in groups_of(name):
            group.rmdir()
    return ""
