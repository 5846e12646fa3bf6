"""The workflows: what actionlint says, who may write what, what runs on a fork, and the steps that can run here."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / ".github" / "workflows"
FILES = sorted(FOLDER.glob("*.yml"))
PINNED = re.compile(r"uses: [\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$")
GUARD = "github.ref_type == 'tag' && vars.PUBLISH == 'true'"


@cache
def actionlint() -> str:
    """Its path; built once."""
    built = subprocess.run([ROOT / "tests" / "actionlint" / "build.sh"], capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    return built.stdout.strip()


def lint(*files: Path) -> subprocess.CompletedProcess[str]:
    # The scripts of steps are not looked at by shellcheck: those that can run here are run below.
    return subprocess.run(
        [actionlint(), "-shellcheck=", "-pyflakes=", "-no-color", *files],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def read(path: Path) -> dict[str, Any]:
    return dict(yaml.load(path.read_text(), yaml.BaseLoader))  # texts only: `on` is a key


def jobs() -> Iterator[tuple[str, dict[str, Any]]]:
    for path in FILES:
        for name, job in read(path)["jobs"].items():
            yield f"{path.stem}/{name}", job


def steps(job: dict[str, Any]) -> list[dict[str, Any]]:
    return list(job.get("steps", []))


def run_of(path: Path, job: str, name: str) -> str:
    """The script of a step."""
    (found,) = [step["run"] for step in read(path)["jobs"][job]["steps"] if step.get("name") == name]
    return str(found)


def test_actionlint_finds_nothing():
    assert {path.name for path in FILES} == {"test.yml", "release.yml"}
    found = lint(*FILES)
    assert found.returncode == 0, found.stdout


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        ("needs: [test, wheel]", "needs: [test, wheels]", "wheels"),
        ("steps.build.outputs.digest", "steps.builds.outputs.digest", "builds"),
        ("packages: write", "packages: writes", "writes"),
        ("${{ github.ref }}", "${{ github.reff }}", "reff"),
    ],
)
def test_actionlint_finds_a_planted_mistake(tmp_path: Path, before: str, after: str, says: str):
    text = (FOLDER / "release.yml").read_text()
    assert before in text
    (tmp_path / "release.yml").write_text(text.replace(before, after))
    found = lint(tmp_path / "release.yml")
    assert found.returncode == 1
    assert says in found.stdout


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_each_action_is_pinned_by_a_commit_that_a_comment_names(path: Path):
    used = [line.strip().removeprefix("- ") for line in path.read_text().splitlines() if "uses:" in line]
    assert used
    assert not [line for line in used if not line.startswith("uses: ./") and not PINNED.fullmatch(line)]


def test_only_what_publishes_may_write_and_only_on_a_tag_of_a_repository_that_wants_it():
    for path in FILES:
        assert read(path)["permissions"] == {"contents": "read"}, path
    writing = {name for name, job in jobs() if "write" in job.get("permissions", {}).values()}
    assert writing == {"release/publish-wheel", "release/publish-image"}
    for name, job in jobs():
        assert (job.get("if") == GUARD) is (name in writing), name
        assert name not in writing or "test" in job["needs"], name


def test_a_fork_without_secrets_needs_none():
    for file in FILES:
        assert "secrets." not in file.read_text(), file
        assert "pull_request_target" not in read(file)["on"], file
    for name, job in jobs():
        for step in steps(job):
            is_checkout = step.get("uses", "").startswith("actions/checkout@")
            assert not is_checkout or step["with"]["persist-credentials"] == "false", name


def test_each_job_ends_and_the_image_and_the_wheel_have_a_statement_of_their_origin():
    for name, job in jobs():
        assert "uses" in job or int(job["timeout-minutes"]) <= 90, name
    for publishing in ("publish-wheel", "publish-image"):
        used = [step.get("uses", "") for step in read(FOLDER / "release.yml")["jobs"][publishing]["steps"]]
        assert any(name.startswith("actions/attest-build-provenance@") for name in used)


def test_the_files_that_are_named_are_there():
    text = "".join(path.read_text() for path in FILES)
    for name in ("deploy/Dockerfile", ".dockerignore", "requirements.lock", "pyproject.toml", "deploy/sidecar/go.mod"):
        assert name in text
        assert (ROOT / name).is_file(), name
    (globs,) = re.findall(r"hashFiles\((.*?)\)", text)
    for pattern in re.findall(r"'(.*?)'", globs):
        assert any(path.is_file() for path in ROOT.glob(pattern.replace("**", "**/*"))), pattern


def test_the_test_job_installs_what_the_checks_install_and_runs_them():
    script = run_of(FOLDER / "test.yml", "test", "Install the services that tests start for themselves")
    listing = script.splitlines()[-1].partition(" | xargs sudo apt-get install")[0]
    said = subprocess.run(["bash", "-c", listing], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    (wanted,) = re.findall(r"^packages=\((.*?)\)", (ROOT / ".ci" / "run").read_text(), re.MULTILINE | re.DOTALL)
    assert said == wanted.split()
    assert "redis-server" in said
    assert read(FOLDER / "test.yml")["jobs"]["test"]["steps"][-1]["run"] == ".ci/run"


def test_the_wheel_that_the_workflow_builds_holds_the_manager_and_runs(tmp_path: Path):
    script = run_of(FOLDER / "release.yml", "wheel", "Build with the tools of requirements.lock")
    hatchling, *rest = script.splitlines()[-1].split()
    assert (hatchling, rest) == (".venv/bin/hatchling", ["build", "-d", "dist"])
    command = [str(Path(sys.executable).with_name("hatchling")), "build", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    assert len(list(tmp_path.glob("*.tar.gz"))) == 1
    with zipfile.ZipFile(wheel) as archive:
        tops = {name.partition("/")[0] for name in archive.namelist() if ".dist-info/" not in name}
        archive.extractall(tmp_path / "unpacked")
    assert tops == {"handlers", "runtime"}
    code = "import runtime, sys; from runtime.cli import main; sys.argv[:] = ['wsm', 'run', '--help']; main()"
    ran = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path / "unpacked",
        env={"PATH": "", "PYTHONPATH": str(tmp_path / "unpacked")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert "--sink-overrides" in ran.stdout
