"""The script behind `make sidecar`: which daprd it takes, and what it says when it cannot give one."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.sidecar import ROOT, daprd_path

pytestmark = pytest.mark.integration

SCRIPT = ROOT / "deploy" / "sidecar" / "build.sh"
TOOLS = ("sh", "dirname", "grep", "sed", "cat", "mkdir", "mv", "rm")


class Machine:
    """A machine with the tools of a base system, and what a test adds."""

    def __init__(self, folder: Path) -> None:
        self.bin, self.cache = folder / "bin", folder / "cache"
        self.bin.mkdir()
        for tool in TOOLS:
            found = shutil.which(tool)
            assert found is not None
            (self.bin / tool).symlink_to(found)

    @property
    def built(self) -> Path:
        return self.cache / "websocket-manager" / "daprd-1.18.2" / "daprd"

    def add(self, path: Path, script: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def run(self, *args: str) -> subprocess.CompletedProcess[str]:
        env = {"PATH": str(self.bin), "XDG_CACHE_HOME": str(self.cache), "HOME": str(self.cache)}
        return subprocess.run([SCRIPT, *args], env=env, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


GO = """
case "$1" in
env) echo go1.26.6 ;;
build) while [ "$1" != -o ]; do shift; done; printf '#!/bin/sh\\necho %s\\n' > "$2"; /bin/chmod 755 "$2"; exit %s ;;
esac
"""


@pytest.mark.parametrize("version", ["1.17.0", "1.18.3", "1.19.1-rc.2"])
def test_a_supported_daprd_on_path_is_used_as_it_is(machine: Machine, version: str) -> None:
    machine.add(machine.bin / "daprd", f"echo {version}")
    assert machine.run("--path").stdout == f"{machine.bin}/daprd\n"
    assert machine.run().returncode == 0
    assert not machine.built.exists()


@pytest.mark.parametrize("version", ["1.16.4", "1.20.0", "edge", "11.18.0"])
def test_another_daprd_on_path_is_not_used(machine: Machine, version: str) -> None:
    machine.add(machine.bin / "daprd", f"echo {version}")
    result = machine.run("--path")
    assert (result.returncode, result.stdout) == (1, "")
    assert "make sidecar" in result.stderr


def test_what_was_built_is_used_without_building_again(machine: Machine) -> None:
    machine.add(machine.built, "echo 1.18.2")
    assert machine.run("--path").stdout == f"{machine.built}\n"
    assert machine.run().returncode == 0


def test_a_missing_go_is_said_and_how_to_do_without(machine: Machine) -> None:
    result = machine.run()
    assert result.returncode == 1
    assert "Go 1.21 or newer is needed" in result.stderr
    assert "put a daprd of 1.17 to 1.19 on PATH" in result.stderr


def test_an_old_go_is_refused(machine: Machine) -> None:
    machine.add(machine.bin / "go", "echo go1.19.8")
    result = machine.run()
    assert result.returncode == 1
    assert "this one is go1.19.8" in result.stderr


def test_it_says_how_long_it_takes_and_builds_once(machine: Machine) -> None:
    machine.add(machine.bin / "go", GO % ("1.18.2", 0))
    result = machine.run()
    assert result.returncode == 0, result.stderr
    assert "about 6 minutes the first time" in result.stderr
    assert machine.run("--path").stdout == f"{machine.built}\n"


@pytest.mark.parametrize(("version", "code"), [("edge", 0), ("1.18.2", 1)])
def test_a_build_that_fails_or_is_of_another_version_leaves_nothing(machine: Machine, version: str, code: int) -> None:
    machine.add(machine.bin / "go", GO % (version, code))
    assert machine.run().returncode == 1
    assert list(machine.built.parent.iterdir()) == []


def test_the_tests_run_on_a_supported_version() -> None:
    result = subprocess.run([daprd_path(), "--version"], capture_output=True, text=True, check=True)
    assert result.stdout.startswith(("1.17.", "1.18.", "1.19."))
