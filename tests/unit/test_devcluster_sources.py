"""In which order a control plane is looked for."""

import pytest

from stateful_route.devcluster import control_plane
from stateful_route.devcluster.control_plane import ControlPlane
from stateful_route.devcluster.errors import BuildFailed, ControlPlaneUnavailable, NotOurs
from stateful_route.devcluster.sources import Assets, Built, Kind, Kwokctl, Named, find_sources


class Machine:
    """A machine on which only the programs are that the test puts there."""

    def __init__(self, folder, monkeypatch):
        self.bin = folder / "bin"
        self.bin.mkdir()
        self._folder = folder
        self._monkeypatch = monkeypatch
        monkeypatch.setenv("PATH", str(self.bin))
        for variable in ("STATEFUL_ROUTE_TEST_KUBECONFIG", "KUBEBUILDER_ASSETS", "KUBECONFIG"):
            monkeypatch.delenv(variable, raising=False)

    def put(self, name, script="", folder=None):
        path = (folder or self.bin) / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def set_assets(self, *names):
        folder = self._folder / "assets"
        folder.mkdir()
        for name in names:
            self.put(name, folder=folder)
        self._monkeypatch.setenv("KUBEBUILDER_ASSETS", str(folder))

    def put_docker(self, script):
        self.put("kind")
        self.put("docker", script)


@pytest.fixture(autouse=True)
def machine(tmp_path, monkeypatch):
    return Machine(tmp_path, monkeypatch)


def kinds():
    return [type(source) for source in find_sources()]


def test_a_bare_machine_builds():
    assert kinds() == [Built]


def test_what_is_there_comes_before_a_build_in_this_order(machine):
    machine.put("kwokctl")
    machine.set_assets("etcd", "kube-apiserver")
    machine.put_docker("echo 28.0")

    assert kinds() == [Kwokctl, Assets, Kind, Built]


def test_a_kubeconfig_that_the_user_names_is_the_only_source(machine, monkeypatch, tmp_path):
    machine.put("kwokctl")
    monkeypatch.setenv("STATEFUL_ROUTE_TEST_KUBECONFIG", str(tmp_path / "mine"))

    assert [source.kubeconfig for source in find_sources()] == [tmp_path / "mine"]
    assert [source.kubeconfig for source in find_sources(tmp_path / "argument")] == [tmp_path / "argument"]


def test_the_kubeconfig_of_daily_work_is_never_used(monkeypatch, tmp_path):
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "production"))

    assert kinds() == [Built]


def test_assets_without_an_api_server_are_passed_over(machine):
    machine.set_assets("etcd")

    assert kinds() == [Built]


@pytest.mark.parametrize(
    "docker",
    ["echo Cannot connect >&2; exit 1", "exit 0"],
    ids=["the engine is down", "the client ends well all the same"],
)
def test_kind_is_passed_over_when_no_docker_engine_answers(docker, machine):
    machine.put_docker(docker)

    assert kinds() == [Built]


def test_docker_is_not_asked_while_something_before_it_would_do(machine, tmp_path):
    machine.put("kwokctl")
    machine.put_docker(f": > {tmp_path / 'asked'}; echo 28.0")

    assert isinstance(next(find_sources()), Kwokctl)
    assert not (tmp_path / "asked").exists()


def test_each_source_says_in_one_line_what_it_is(machine, tmp_path):
    machine.put("kwokctl")
    machine.set_assets("etcd", "kube-apiserver")
    machine.put_docker("echo 28.0")

    for source in (*find_sources(), Named(tmp_path, "asked for")):
        assert len(str(source).splitlines()) == 1


def test_when_one_source_fails_the_next_is_tried_and_both_are_reported(machine, monkeypatch):
    machine.put("kwokctl", "echo 'no route to the release page'; exit 3")
    machine.put("kubectl")
    monkeypatch.setattr(control_plane, "build", refuse_to_build)
    lines = []

    with pytest.raises(ControlPlaneUnavailable) as failure:
        ControlPlane.start(progress=lines.append)

    assert [line.split(":")[0] for line in lines] == ["control plane", "that failed"] * 2
    assert "kwokctl create cluster ended with 3: no route to the release page" in str(failure.value)
    assert "building etcd failed: no compiler" in str(failure.value)


def test_a_named_cluster_that_does_not_answer_is_an_error_and_nothing_is_built(machine, monkeypatch, tmp_path):
    kubeconfig = tmp_path / "mine"
    kubeconfig.touch()
    machine.put("kubectl", "echo connection refused >&2; exit 1")
    monkeypatch.setattr(control_plane, "build", refuse_to_build)

    with pytest.raises(ControlPlaneUnavailable, match="connection refused"):
        ControlPlane.start(kubeconfig=kubeconfig)


def test_a_named_cluster_is_left_as_it_is(machine, tmp_path):
    kubeconfig = tmp_path / "mine"
    kubeconfig.write_text("as it was")
    machine.put("kubectl", 'test "$KUBECONFIG" = ' + str(kubeconfig))

    with ControlPlane.start(kubeconfig=kubeconfig) as cluster:
        assert cluster.kubeconfig == kubeconfig
        with pytest.raises(NotOurs, match="our own processes"):
            cluster.stop_api_server()

    assert kubeconfig.read_text() == "as it was"


def test_a_kind_cluster_is_deleted_also_when_its_creation_fails(machine, monkeypatch, tmp_path):
    calls = tmp_path / "calls"
    machine.put_docker("echo 28.0")
    machine.put("kind", f'echo "$1 $5" >> {calls}; test "$1" = delete')
    machine.put("kubectl")
    monkeypatch.setattr(control_plane, "build", refuse_to_build)

    with pytest.raises(ControlPlaneUnavailable, match="kind create cluster failed"):
        ControlPlane.start()

    assert [line.split()[0] for line in calls.read_text().splitlines()] == ["create", "delete"]


def refuse_to_build(*_arguments, **_options):
    raise BuildFailed("etcd", "no compiler", "")
