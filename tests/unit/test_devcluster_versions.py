"""What versions.py says is what the go.mod files build."""

import re

import pytest

from stateful_route.devcluster import builds, versions

MODULES = (
    versions.KUBERNETES_MODULE,
    versions.ETCD_MODULE,
    versions.KWOK_MODULE,
    versions.NODE_MODULE,
    versions.HELM_MODULE,
    versions.PROMTOOL_MODULE,
)


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.folder)
def test_the_pinned_version_is_the_one_that_the_module_requires(module):
    required = re.search(rf"^\s*{re.escape(module.path)} (\S+)", builds.module_text(module, "go.mod"), re.MULTILINE)

    assert required is not None
    assert required[1] == module.version


@pytest.mark.parametrize("name", builds.BINARIES)
def test_each_binary_is_a_tool_of_its_module(name):
    binary = builds.BINARIES[name]
    text = builds.module_text(binary.module, "go.mod")
    tools = re.search(r"^tool (?:\((.*?)^\)|(\S+))", text, re.MULTILINE | re.DOTALL)

    assert tools is not None
    assert binary.package in (tools[1] or tools[2]).split()


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.folder)
def test_every_module_is_held_by_checksums(module):
    assert f"{module.path} {module.version} h1:" in builds.module_text(module, "go.sum")


def test_the_server_reports_the_pinned_kubernetes_version():
    assert f"version.gitVersion={versions.KUBERNETES}" in versions.KUBERNETES_MODULE.ldflags
