"""The script that fetches Kafka for the tests: what it takes, and what it says when it cannot give one."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.message_brokers import FETCH_KAFKA

pytestmark = pytest.mark.integration

TOOLS = ("sh", "dirname", "sed", "head", "cp", "mkdir", "mv", "rm", "sha256sum")


class Machine:
    """A machine with the tools of a base system, a Java of some version, and what a test adds."""

    def __init__(self, folder: Path) -> None:
        self.bin, self.cache = folder / "bin", folder / "cache"
        self.jars = self.cache / "websocket-manager" / "kafka-4.0.0"
        self.bin.mkdir()
        for tool in TOOLS:
            found = shutil.which(tool)
            assert found is not None
            (self.bin / tool).symlink_to(found)
        self.add("java", """echo 'openjdk version "17.0.15" 2025-04-15' >&2""")

    def add(self, name: str, script: str) -> None:
        path = self.bin / name
        path.unlink(missing_ok=True)
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def run(self) -> subprocess.CompletedProcess[str]:
        env = {"PATH": str(self.bin), "XDG_CACHE_HOME": str(self.cache), "HOME": str(self.cache)}
        return subprocess.run([FETCH_KAFKA], env=env, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_without_java_or_with_an_old_one_it_says_which_it_needs(machine: Machine):
    machine.add("java", """echo 'openjdk version "11.0.2" 2019-01-15' >&2""")
    assert "needs Java 17 or newer; this one is 11: apt-get install" in machine.run().stderr
    (machine.bin / "java").unlink()
    told = machine.run()
    assert told.returncode == 1
    assert "java is needed" in told.stderr


def test_without_maven_it_says_how_to_get_it(machine: Machine):
    told = machine.run()
    assert told.returncode == 1
    assert "mvn is needed to fetch Kafka 4.0.0 from Maven Central: apt-get install maven" in told.stderr


def test_what_is_not_what_was_pinned_is_not_taken_and_nothing_is_left_of_it(machine: Machine):
    machine.jars.mkdir(parents=True)
    (machine.jars / "kafka_2.13-4.0.0.jar").write_text("half of it")
    machine.add("mvn", 'for word; do case $word in -DoutputDirectory=*) /bin/mkdir "${word#*=}" ;; esac; done')
    told = machine.run()
    assert (told.returncode, told.stdout) == (1, "")
    assert "is not what" in told.stderr
    assert [path.name for path in machine.jars.parent.iterdir()] == [machine.jars.name]


def test_a_maven_that_reaches_no_repository_is_told(machine: Machine):
    machine.add("mvn", "exit 1")
    told = machine.run()
    assert told.returncode == 1
    assert "Maven could not fetch it" in told.stderr
