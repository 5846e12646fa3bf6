"""The image of `deploy/Dockerfile`, without a container engine: its build stage is executed, and its result is run."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import Distribution, distributions
from pathlib import Path

import pytest

from runtime.feed import local_feed
from runtime.settings import Settings
from tests.dockerfile import Dockerfile, execute
from tests.processes import Process, find_program, free_ports
from tests.sidecar import COMPONENTS, DIRECT, ROOT, Sidecar, started_sidecar
from tests.wsm import Background, wsm

pytestmark = pytest.mark.integration

DOCKERFILE = Dockerfile.read(ROOT / "deploy" / "Dockerfile")
BUILD, RESULT = DOCKERFILE.stages
NOBODY = 65534
READ_ONLY = "mount -o remount,bind,ro / && exec"


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """What the build stage leaves at TARGET, in a folder that anybody may read and nobody write."""
    folder = tmp_path_factory.mktemp("image")
    source, target, path = folder / "source", folder / "wsm", folder / "bin"
    path.mkdir()
    (path / "python").symlink_to(getattr(sys, "_base_executable", sys.executable))
    (path / "pip").symlink_to(Path(sys.executable).parent / "pip")
    env = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "VIRTUAL_ENV", "WSM_"))}
    env["PATH"] = f"{path}:/usr/local/bin:/usr/bin:/bin"
    execute(BUILD, ROOT, {"SOURCE": str(source), "TARGET": str(target)}, env)
    shutil.rmtree(source)  # the second stage gets the target alone
    for each in (target, *target.rglob("*")):
        if not each.is_symlink():
            each.chmod(each.stat().st_mode & ~(stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH))
    yield target
    for each in (target, *target.rglob("*")):
        if each.is_dir() and not each.is_symlink():
            each.chmod(each.stat().st_mode | stat.S_IWUSR)


def test_the_result_holds_what_the_lock_names_and_the_manager_and_nothing_to_build_or_test_with(image: Path):
    (packages,) = image.glob("lib/python*/site-packages")
    installed = {_name(each): each.version for each in distributions(path=[str(packages)])}
    wanted = locked("deploy/image.lock")
    wanted.pop("colorama")  # for Windows
    assert installed == wanted | {"websocket-manager": installed["websocket-manager"]}
    checked = subprocess.run(
        [Path(sys.executable).parent / "pip", "--python", image / "bin" / "python", "check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    programs = {each.name for each in (image / "bin").iterdir()}
    assert not programs & {"pip", "uv", "cc", "gcc", "pytest", "hatchling"}
    assert {each.name for each in packages.iterdir()} >= {"handlers", "runtime"}


@pytest.mark.parametrize("lock", ["deploy/image.lock", "deploy/image-build.lock"])
def test_the_locks_of_the_image_pin_by_hash_what_the_tests_run_with(lock: str):
    ours, all_ = blocks(lock), blocks("requirements.lock")
    assert ours
    for line, hashes in ours.items():
        assert hashes
        assert all_[line] == hashes, f"{line}: run make lock"


def test_the_second_stage_takes_the_result_alone_as_an_ordinary_user_with_one_entry_point():
    assert RESULT.base == BUILD.base
    assert [step.word for step in RESULT.steps] == ["ARG", "COPY", "ENV", "USER", "EXPOSE", "ENTRYPOINT"]
    target = BUILD.args()["TARGET"]
    assert RESULT.args() == {"TARGET": target}
    assert RESULT.only("COPY").split() == ["--from=build", "${TARGET}", "${TARGET}"]
    user, group = RESULT.only("USER").split(":")
    assert int(user) > 0
    assert int(group) > 0
    assert json.loads(RESULT.only("ENTRYPOINT")) == ["wsm", "run"]
    env = RESULT.env({"TARGET": target, "PATH": "/usr/bin"})
    assert env["PATH"].startswith(f"{target}/bin:")
    known = {variable for name in Settings.model_fields for variable in Settings.variables(name)}
    assert {name for name in env if name.startswith("WSM_")} <= known
    assert RESULT.only("EXPOSE") == env["WSM_OPS_PORT"]


def test_an_ordinary_user_on_a_read_only_file_system_runs_a_connection_from_its_begin_to_its_end(
    image: Path, tmp_path: Path
):
    before = sorted(image.rglob("*"))
    with started(image, tmp_path) as (manager, sidecar, ops):
        assert answer(ops, "livez") == 200
        feed_context = Background(local_feed(0.05))
        with feed_context as feed:
            made = wsm("connect", feed.value.url, "--id", "a", "--topic", "prices", "--wait", port=sidecar.http_port)
            assert made.code == 0, f"{made.stderr}\n{manager.tail()}"
            assert answer(ops, "readyz") == 200
            (shown,) = wsm("list", "--json", port=sidecar.http_port).lines()
            assert (shown["id"], shown["status"]) == ("a", "Connected")
            assert wsm("disconnect", "a", port=sidecar.http_port).code == 0
            assert wsm("list", "--json", port=sidecar.http_port).lines() == []
        assert manager.stop() == 0
    assert sorted(image.rglob("*")) == before


@contextmanager
def started(image: Path, folder: Path) -> Iterator[tuple[Process, Sidecar, int]]:
    """The entry point with the variables of the image, beside a sidecar."""
    app_port, ops = free_ports(2)
    sidecar = Sidecar("websocket-handlers", COMPONENTS / "memory", folder, app_port=app_port)
    env = RESULT.env({"TARGET": str(image), "PATH": "/usr/bin:/bin"})
    loopback = {"WSM_OPS_HOST": "127.0.0.1", "WSM_OPS_PORT": str(ops)}  # of this machine, not of a container
    ports = {"APP_PORT": str(app_port), "DAPR_GRPC_PORT": str(sidecar.grpc_port)}
    command = [*ordinary(), *json.loads(RESULT.only("ENTRYPOINT")), "--mode", "all", "--allow-private"]
    manager = Process("image", command, folder, lambda: answer(ops, "readyz") == 200, env=env | loopback | ports)
    manager.env["HOME"] = "/nonexistent"
    with started_sidecar(sidecar):
        try:
            manager.start()
            yield manager, sidecar, ops
        finally:
            manager.kill()


def ordinary() -> list[str]:
    """What to put in front of a command: all of the file system read-only, and nobody's rights.

    Where the interpreter lies in a folder that is closed to others, as root's home is, the process may read it, and
    still writes nothing.
    """
    unshare = find_program("unshare", "apt-get install util-linux")
    setpriv = find_program("setpriv", "apt-get install util-linux")
    if os.getuid() != 0:
        return [unshare, "--map-root-user", "--mount", "sh", "-c", f'{READ_ONLY} "$@"', "sh"]
    reads = ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
    as_nobody = [setpriv, f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", *reads]
    return [unshare, "--mount", "sh", "-c", f'{READ_ONLY} "$@"', "sh", *as_nobody]


def answer(port: int, path: str) -> int:
    """The status of a GET; 0 when nothing answers."""
    try:
        with DIRECT.open(f"http://127.0.0.1:{port}/{path}", timeout=2) as got:
            return int(got.status)
    except OSError as error:
        return int(getattr(error, "code", 0))


def blocks(path: str) -> dict[str, list[str]]:
    """The hashes of a lock, by `name==version` with its marker."""
    found: dict[str, list[str]] = {}
    current = ""
    for line in (ROOT / path).read_text().splitlines():
        if re.match(r"[a-z]", line):
            current = line.removesuffix(" \\")
            found[current] = []
        elif "--hash=" in line:
            found[current].append(line.strip().removesuffix(" \\"))
    return found


def locked(path: str) -> dict[str, str]:
    return dict(block.split(" ")[0].split("==") for block in blocks(path))


def _name(distribution: Distribution) -> str:
    return re.sub(r"[-_.]+", "-", distribution.metadata["Name"]).lower()
