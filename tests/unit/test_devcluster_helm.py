"""Which Helm the tests take."""

import pytest

from stateful_route.devcluster import helm


@pytest.mark.parametrize(
    ("answer", "taken"),
    [("echo v4.0.2", True), ("echo v4.9.0+abc", True), ("echo v3.19.0", False), ("exit 1", False), ("echo", False)],
)
def test_the_one_on_path_is_taken_when_it_is_of_our_release(answer, taken, tmp_path, monkeypatch):
    found, built = tmp_path / "helm", tmp_path / "built"
    found.write_text(f"#!/bin/sh\n{answer}\n")
    found.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(helm, "build", lambda names, **_: {names[0]: built})

    assert helm.find_helm() == (found if taken else built)


def test_without_one_on_path_it_is_built(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(helm, "build", lambda names, **_: {names[0]: tmp_path / "built"})

    assert helm.find_helm() == tmp_path / "built"
