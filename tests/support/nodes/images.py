"""The images that nodes run, made where there is no Docker: of this interpreter, the wheel and the pinned packages.

What `make image` builds by the Dockerfile is built here by hand, with the same user, entry point and environment; a
test holds the two against each other. The images are one archive in Docker's format, and share their layers.
"""

import hashlib
import io
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from stateful_route.devcluster.embedded_store import find_servers
from stateful_route.devcluster.run_folder import locked
from stateful_route.devcluster.toolchain import cache_folder
from support.nodes import machine
from support.nodes.names import IMAGES, PAUSE

REPO: Final = Path(__file__).resolve().parents[3]
TESTS: Final = REPO / "tests"
LOCK: Final = REPO / "requirements-operator.lock"

USER: Final = "65532:65532"
ENTRY_POINT: Final = ["stateful-route"]
ENVIRONMENT: Final = {
    "PATH": "/app/bin:/usr/local/bin:/usr/bin:/bin",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONUNBUFFERED": "1",
}

_FORM: Final = "1"
"""Of the layers that are kept; to be counted up with each change of what is put into them."""
_PIP_SECONDS: Final = 600.0
_LEFT_OUT: Final = ("test", "tests", "site-packages", "dist-packages", "idlelib", "tkinter", "ensurepip", "turtledemo")
_UNUSED: Final = re.compile(r"\.a$|\.opt-[12]\.pyc$|^_tkinter\.")

_CLIENT: Final = """\
#!/bin/sh
# `valkey-cli ping`, which is all that the chart's probes ask of it.
printf 'AUTH %s\\r\\nPING\\r\\nQUIT\\r\\n' "$REDISCLI_AUTH" | nc -w 2 127.0.0.1 6379 | grep -q '^+PONG' && echo PONG
"""


@dataclass
class Layer:
    """What is put into a layer: path in the image → a file of this machine, the bytes of a file, or a link's target."""

    files: dict[str, Path] = field(default_factory=dict)
    texts: dict[str, tuple[str, int]] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    folders: Sequence[str] = ()

    def write(self, path: Path) -> None:
        """As a tar archive; all belongs to root, as in any image."""
        partial = path.with_suffix(f".{os.getpid()}.partial")
        with tarfile.open(partial, "w") as archive:
            self._made: set[str] = set()
            for name in self.folders:
                self._folder(archive, name, 0o1777 if name == "tmp" else 0o755)
            for name, source in sorted(self.files.items()):
                status = source.stat()
                entry = self._entry(archive, name, 0o755 if status.st_mode & 0o111 else 0o644)
                entry.size, entry.mtime = status.st_size, int(status.st_mtime)  # compiled modules name their source's
                with source.open("rb") as content:
                    archive.addfile(entry, content)
            for name, (text, mode) in self.texts.items():
                entry = self._entry(archive, name, mode)
                entry.size = len(text.encode())
                archive.addfile(entry, io.BytesIO(text.encode()))
            for name, target in self.links.items():
                entry = self._entry(archive, name, 0o777)
                entry.type, entry.linkname = tarfile.SYMTYPE, target
                archive.addfile(entry)
        partial.replace(path)

    def _entry(self, archive: tarfile.TarFile, name: str, mode: int) -> tarfile.TarInfo:
        name = name.lstrip("/")
        self._folder(archive, os.path.dirname(name), 0o755)  # noqa: PTH120  a path in the image
        entry = tarfile.TarInfo(name)
        entry.mode = mode
        return entry

    def _folder(self, archive: tarfile.TarFile, name: str, mode: int) -> None:
        if not name or name in self._made:
            return
        self._folder(archive, os.path.dirname(name), 0o755)  # noqa: PTH120
        self._made.add(name)
        entry = tarfile.TarInfo(name)
        entry.type, entry.mode = tarfile.DIRTYPE, mode
        archive.addfile(entry)


@dataclass(frozen=True)
class Image:
    """Layers, from the lowest, and how a container of it starts."""

    names: Sequence[str]
    layers: Sequence[Path]
    entry_point: Sequence[str] = ()
    command: Sequence[str] = ()
    user: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)

    def configuration(self, digests: Mapping[Path, str]) -> bytes:
        """As the specification of images has it."""
        body = {
            "architecture": {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine()),
            "os": "linux",
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digests[layer]}" for layer in self.layers]},
            "config": {
                "Env": [f"{name}={value}" for name, value in self.environment.items()],
                "Entrypoint": list(self.entry_point),
                "Cmd": list(self.command),
                "User": self.user,
            },
        }
        return json.dumps(body).encode()


def make_images(folder: Path) -> Path:
    """An archive with all images, in ``folder``; half a minute for the first time, then some seconds.

    Raises:
        subprocess.CalledProcessError: the wheel could not be built, or a package not be fetched.
    """
    base, python = _cached("base", _base), _cached("python", _python)
    packages = _cached("packages", _packages)
    project, tests, valkey = (folder / f"{name}.tar" for name in ("project", "tests", "valkey"))
    _project(folder).write(project)
    _tests().write(tests)
    _valkey().write(valkey)
    operator = Image((IMAGES.operator, IMAGES.next), (base, python, packages, project), ENTRY_POINT, ("operator",))
    operator = replace(operator, user=USER, environment=ENVIRONMENT)
    room = ("/app/bin/python", "-m", "support.room")
    images = (
        Image((PAUSE,), (base,), ("/bin/busybox", "sleep", "2147483647")),
        operator,
        replace(operator, names=(IMAGES.room,), layers=(*operator.layers, tests), entry_point=room, command=()),
        Image((IMAGES.valkey,), (base, valkey), (), ("valkey-server",), environment={"PATH": "/usr/local/bin:/bin"}),
    )
    return _write(images, folder / "images.tar")


def _write(images: Sequence[Image], path: Path) -> Path:
    """One archive, in the format of ``docker save``."""
    layers = {layer for image in images for layer in image.layers}
    digests = {layer: _digest(layer) for layer in layers}
    manifest = []
    with tarfile.open(path, "w") as archive:
        for layer, digest in digests.items():
            archive.add(layer, f"{digest}.tar")
        for image in images:
            configuration = image.configuration(digests)
            name = f"{hashlib.sha256(configuration).hexdigest()}.json"
            _add(archive, name, configuration)
            layers_of = [f"{digests[layer]}.tar" for layer in image.layers]
            manifest.append({"Config": name, "RepoTags": list(image.names), "Layers": layers_of})
        _add(archive, "manifest.json", json.dumps(manifest).encode())
    return path


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    archive.addfile(entry, io.BytesIO(content))


def _digest(path: Path) -> str:
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _cached(name: str, make: Callable[[Path], None]) -> Path:
    """A layer that stays the same for as long as this interpreter and the lock do."""
    parts = (sys.version, sys.base_prefix, LOCK.read_text(), _FORM)
    key = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
    path = cache_folder() / "images" / key / f"{name}.tar"
    path.parent.mkdir(parents=True, exist_ok=True)
    with locked(path.parent / "lock", timeout_seconds=_PIP_SECONDS):
        if not path.exists():
            make(path)
    return path


def _base(path: Path) -> None:
    """Folders, and busybox as shell."""
    busybox = machine.program("busybox")
    assert busybox is not None
    applets = subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True).stdout.split()
    layer = Layer(folders=("etc", "proc", "sys", "dev", "root", "run", "tmp"))
    layer.files["/bin/busybox"] = busybox
    layer.links = {f"/bin/{applet}": "busybox" for applet in applets if applet != "busybox"}
    layer.write(path)


def _python(path: Path) -> None:
    """This interpreter with its standard library and its shared libraries, where they lie here."""
    executable = Path(sys.executable).resolve()
    layer = Layer()
    layer.files[str(executable)] = executable
    for folder in {sysconfig.get_paths()[name] for name in ("stdlib", "platstdlib")}:
        for file in _files(Path(folder)):
            layer.files[str(file)] = file
    shared = [file for file in layer.files.values() if ".so" in file.name]
    layer.files.update(_libraries([executable, *shared]))
    layer.write(path)


def _packages(path: Path) -> None:
    """What ``requirements-operator.lock`` pins, in the image's virtual environment."""
    folder = path.with_suffix(".folder")
    _pip(folder, "--no-compile", "--require-hashes", "--requirement", str(LOCK))
    # Of two thousand modules of kubernetes a few are imported.
    command = [sys.executable, "-m", "compileall", "-q", "-x", "/kubernetes/", str(folder)]
    subprocess.run(command, capture_output=True, check=False, timeout=_PIP_SECONDS)
    layer = _installed(folder)
    home = Path(sys.executable).resolve().parent
    layer.texts["/app/pyvenv.cfg"] = (f"home = {home}\ninclude-system-site-packages = false\n", 0o644)
    layer.links["/app/bin/python"] = str(Path(sys.executable).resolve())
    layer.files.update(_libraries([file for file in layer.files.values() if file.suffix == ".so"]))
    layer.write(path)
    shutil.rmtree(folder)


def _project(folder: Path) -> Layer:
    """The wheel, and the commands that it brings."""
    wheels = folder / "wheel"
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(wheels), str(REPO)]
    subprocess.run(command, capture_output=True, check=True, timeout=_PIP_SECONDS)
    (wheel,) = wheels.iterdir()
    installed = folder / "project"
    _pip(installed, "--no-deps", "--no-index", str(wheel))
    layer = _installed(installed)
    for script in (installed / "bin").iterdir():
        body = script.read_text().partition("\n")[2]
        layer.texts[f"/app/bin/{script.name}"] = (f"#!/app/bin/python\n{body}", 0o755)
    return layer


def _tests() -> Layer:
    layer = Layer()
    for file in (TESTS / "support").glob("*.py"):
        layer.files[f"/tests/support/{file.name}"] = file
    return layer


def _valkey() -> Layer:
    server = next(server for server in find_servers() if server.name == "valkey")
    layer = Layer(files={"/usr/local/bin/valkey-server": server.path, **_libraries([server.path])})
    layer.texts["/usr/local/bin/valkey-cli"] = (_CLIENT, 0o755)
    return layer


def _installed(folder: Path) -> Layer:
    site = f"/app/lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"
    files = (file for file in folder.rglob("*") if file.is_file() and folder / "bin" not in file.parents)
    return Layer(files={f"{site}/{file.relative_to(folder)}": file for file in files})


def _pip(target: Path, *words: str) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--target"]
    subprocess.run([*command, str(target), *words], capture_output=True, check=True, timeout=_PIP_SECONDS)


def _files(top: Path) -> Iterator[Path]:
    for folder, inner, names in os.walk(top):
        inner[:] = [name for name in inner if name not in _LEFT_OUT and not name.startswith("config-")]
        for name in names:
            file = Path(folder) / name
            if not file.is_symlink() and not _UNUSED.search(name):
                yield file


def _libraries(binaries: Sequence[Path]) -> dict[str, Path]:
    """What the loader finds for these: path in the image → file."""
    found = {}
    for start in range(0, len(binaries), 100):
        words = ["ldd", *map(str, binaries[start : start + 100])]
        output = subprocess.run(words, capture_output=True, text=True, check=False).stdout
        for place in re.findall(r"(/\S+) \(0x", output):
            found[place] = Path(place).resolve()
    return found
