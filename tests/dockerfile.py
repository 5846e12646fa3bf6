"""Reads a Dockerfile, and executes the steps of a stage in a folder, where no container engine is at hand.

What it does not know it refuses: a step that is passed over would be a promise that nobody has checked.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Self

_VARIABLE = re.compile(r"\$\{(\w+)\}")


@dataclass(frozen=True, slots=True)
class Step:
    """One instruction; continued lines are joined."""

    word: str
    rest: str


@dataclass
class Stage:
    """From one FROM to the next."""

    base: str
    name: str | None
    steps: list[Step] = field(default_factory=list)

    def args(self, given: Mapping[str, str] | None = None) -> dict[str, str]:
        """Its ARGs; what is given wins, and must be among them."""
        args = dict(step.rest.split("=", 1) for step in self.steps if step.word == "ARG")
        assert set(given or {}) <= set(args), f"no ARG for {set(given or {}) - set(args)}"
        return args | dict(given or {})

    def env(self, values: Mapping[str, str]) -> dict[str, str]:
        """Its ENVs, with variables replaced."""
        words = [word for step in self.steps if step.word == "ENV" for word in shlex.split(step.rest)]
        return {key: _fill(value, values) for key, value in (word.split("=", 1) for word in words)}

    def only(self, word: str) -> str:
        """What stands behind an instruction that occurs once."""
        (rest,) = (step.rest for step in self.steps if step.word == word)
        return rest


@dataclass(frozen=True, slots=True)
class Dockerfile:
    """Its stages, in order."""

    stages: list[Stage]

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a file; what stands before the first FROM must be ARGs."""
        stages: list[Stage] = []
        for step in _steps(path.read_text()):
            if step.word == "FROM":
                base, *alias = step.rest.split()
                stages.append(Stage(base, alias[1] if alias else None))
            elif stages:
                stages[-1].steps.append(step)
            else:
                assert step.word == "ARG", step
        return cls(stages)


def execute(stage: Stage, context: Path, args: Mapping[str, str], env: Mapping[str, str]) -> None:
    """Do what a build stage says, with its ARGs replaced by folders of this machine."""
    values, here = stage.args(args), Path("/")
    assert all(Path(value).is_absolute() for value in values.values()), values
    ignored = _Ignored.read(context / ".dockerignore")
    for step in stage.steps:
        match step.word:
            case "ARG":
                pass
            case "WORKDIR":
                here = here / _fill(step.rest, values)
                here.mkdir(parents=True, exist_ok=True)
            case "COPY":
                *sources, target = _fill(step.rest, values).split()
                _copy(context, ignored, sources, here / target, is_folder=target.endswith("/"))
            case "RUN":
                shell = ["/bin/sh", "-c", step.rest]
                done = subprocess.run(
                    shell, cwd=here, env={**env, **values}, capture_output=True, text=True, check=False
                )
                assert done.returncode == 0, f"{step.rest}\n{done.stdout}{done.stderr}"
            case _:
                raise AssertionError(f"a build stage with {step.word} cannot be executed here")


class _Ignored:
    """A .dockerignore: the last pattern that fits decides, also by a folder above."""

    def __init__(self, patterns: list[str]) -> None:
        self._patterns = patterns

    @classmethod
    def read(cls, path: Path) -> Self:
        lines = (line.strip() for line in path.read_text().splitlines())
        return cls([line for line in lines if line and not line.startswith("#")])

    def is_ignored(self, path: Path) -> bool:
        """Whether a path, relative to the context, is left out."""
        names = [str(each) for each in (path, *path.parents) if each != Path(".")]
        result = False
        for pattern in self._patterns:
            plain = pattern.removeprefix("!")
            if any(fnmatch(name, plain) or (plain.startswith("**/") and fnmatch(name, plain[3:])) for name in names):
                result = not pattern.startswith("!")
        return result


def _steps(text: str) -> Iterator[Step]:
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    for line in re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines():
        word, rest = line.split(maxsplit=1)
        yield Step(word, rest)


def _fill(text: str, values: Mapping[str, str]) -> str:
    return _VARIABLE.sub(lambda match: values[match[1]], text)


def _copy(context: Path, ignored: _Ignored, sources: list[str], target: Path, *, is_folder: bool) -> None:
    assert len(sources) == 1 or is_folder, "several files are copied into a folder, which ends with /"
    for source in sources:
        path = context / source
        files = [each for each in ([path] if path.is_file() else sorted(path.rglob("*"))) if each.is_file()]
        wanted = [each for each in files if not ignored.is_ignored(each.relative_to(context))]
        assert wanted, f"COPY {source}: nothing is there, or .dockerignore leaves it out"
        for each in wanted:
            # A folder's content is copied, a file by its name.
            to = target / (each.relative_to(path) if path.is_dir() else each.name) if is_folder else target
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(each, to)
            os.chmod(to, 0o644)
