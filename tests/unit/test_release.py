"""What `make release-check` holds against each other before anything is released."""

import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import release
import stateful_route
import versions

REPO = Path(__file__).resolve().parents[2]
OURS = versions.read()
OTHER = "9.8.7"
VERSION = stateful_route.__version__
ENTRY = f"## [{VERSION}] - 2026-11-22\n\n- All of it.\n"
BEFORE = "## [0.0.9] - 2025-01-01\n\n- Something.\n"


def test_this_tree_agrees_but_perhaps_for_what_is_not_released_yet():
    assert [problem for problem in versions.problems(OURS) if "[Unreleased]" not in problem] == []


CHANGELOGS = {
    "an entry of its own": (ENTRY, None),
    "before older ones, under an empty one for what comes": (f"## [Unreleased]\n\n{ENTRY}\n{BEFORE}", None),
    "no entry at all": ("# Changelog\n", f"CHANGELOG.md has no entry for {VERSION} (it has none of any version)"),
    "only older ones": (BEFORE, f"no entry for {VERSION} (its top entry is 0.0.9): write '## [{VERSION}] - <date>'"),
    "not at the top": (f"{BEFORE}\n{ENTRY}", f"no entry for {VERSION} (its top entry is 0.0.9)"),
    "without a date": (f"## [{VERSION}]\n\n- All of it.\n", "has no date"),
    "with a date of another form": (ENTRY.replace("2026-11-22", "22.11.2026"), "has no date"),
    "empty": (f"## [{VERSION}] - 2026-11-22\n\n{BEFORE}", f"the entry of {VERSION} is empty"),
    "beside lines that have none": (
        f"## [Unreleased]\n\n- More.\n\n{ENTRY}",
        "has lines under [Unreleased]: move them",
    ),
}


@pytest.mark.parametrize("case", CHANGELOGS)
def test_the_version_has_an_entry_in_the_changelog(case):
    text, problem = CHANGELOGS[case]
    found = list(versions.changelog_problems(text, VERSION))
    assert [problem in one for one in found] == ([] if problem is None else [True]), found


def test_whatever_names_another_version_is_named():
    raised = OURS | {versions.PLACE: OURS[versions.PLACE].replace(VERSION, OTHER)}
    found = "\n".join(versions.problems(raised))
    for place in ("Chart.yaml: version is", "Chart.yaml: appVersion is", f"no entry for {OTHER}", *versions.DOCUMENTS):
        assert place in found
    assert "make chart" in found


def test_every_document_that_names_the_image_is_looked_at():
    documents = [*REPO.glob("*.md"), *REPO.glob("docs/**/*.md"), *REPO.glob("charts/**/*.md")]
    naming = {str(path.relative_to(REPO)) for path in documents if versions.TAG.search(path.read_text())}
    assert naming - {versions.CHANGELOG} == set(versions.DOCUMENTS)


@pytest.mark.parametrize("version", ["1.2", "1.2.3.dev0", "1.2.3+local"])
def test_a_version_that_helm_or_an_index_would_not_take_is_refused(version):
    raised = OURS | {versions.PLACE: OURS[versions.PLACE].replace(VERSION, version)}
    assert any("is no version to release" in problem for problem in versions.problems(raised))


def test_the_check_ends_at_once_where_the_entry_is_missing(tmp_path):
    for path in (*OURS, "tools/versions.py", "tools/release.py"):
        target = tmp_path / path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPO / path, target)
    changelog = tmp_path / versions.CHANGELOG
    changelog.write_text(re.sub(rf"^## \[{re.escape(VERSION)}\].*$", "", changelog.read_text(), flags=re.MULTILINE))
    done = subprocess.run(
        [sys.executable, tmp_path / "tools" / "release.py"], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stdout) == (1, "version …\n")
    assert "not to be released:" in done.stderr
    assert f"CHANGELOG.md has no entry for {VERSION}" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "dist").exists()


LOCK = """\
hiredis==3.4.1 \\
    --hash=sha256:aa \\
    --hash=sha256:bb
redis==8.0.1 ; python_version >= '3.11' \\
    --hash=sha256:cc
"""


def test_what_is_installed_is_what_the_lock_pins_and_no_more():
    assert release.locked(LOCK, {"redis"}) == LOCK.partition("bb\n")[2]
    assert release.locked(LOCK, {"redis", "hiredis"}) == LOCK
    with pytest.raises(release.Failed, match="does not pin typer: make lock"):
        release.locked(LOCK, {"redis", "typer"})


def test_two_wheels_are_compared_file_by_file_but_for_their_records(tmp_path):
    for name, text in (("one", "1"), ("other", "2")):
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.writestr("same.py", "pass")
            archive.writestr("package/changed.py", text)
            archive.writestr(f"{name}.py", "")
            archive.writestr("x.dist-info/RECORD", text)
    one, other = release.contents(tmp_path / "one"), release.contents(tmp_path / "other")
    assert release.differences(one, other) == ["one.py", "other.py", "package/changed.py"]
    assert release.differences(one, one) == []


def test_a_step_that_fails_says_what_it_has_run_and_what_that_has_said(tmp_path):
    with pytest.raises(release.Failed) as failed:
        release.run(sys.executable, "-c", "import sys; print('oh'); sys.exit('no')", cwd=tmp_path)
    assert re.search(r"-c import sys.* ended with 1:\noh\nno$", str(failed.value), re.DOTALL)
