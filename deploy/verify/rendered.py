"""What Kustomize makes of each folder: valid, and whole."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

from deploy.verify import components, egress, pods, references, schemas
from deploy.verify.documents import Document, parse
from deploy.verify.problems import MissingPartError, Problem

BUILD = Path(__file__).resolve().parents[1] / "kubernetes" / "kustomize" / "build.sh"
OPTIONS = ("--load-restrictor", "LoadRestrictionsNone")  # component sets lie in components/
_NEIGHBOUR = re.compile(r"\]\((\.\./[a-z-]+/README\.md)\)")
KIND = "kustomize.config.k8s.io/v1beta1/Kustomization"


def kustomize() -> str:
    """The kustomize to use. Raises MissingPartError."""
    found = subprocess.run([BUILD, "--path"], capture_output=True, text=True, check=False)  # noqa: S603  our own
    if found.returncode != 0:
        raise MissingPartError(found.stderr.strip())
    return found.stdout.strip()


def patches(documents: Iterable[Document]) -> set[Path]:
    """Files that are parts of resources, to be laid over whole ones."""
    found = set()
    for document in documents:
        if document.kind == KIND:
            for patch in document.data.get("patches", []):
                if isinstance(patch, dict) and "path" in patch:
                    found.add(document.file.parent / patch["path"])
    return found


def render(root: Path, folder: Path) -> str:
    """The resources of a folder. Raises ValueError with what kustomize says."""
    command = [kustomize(), "build", *OPTIONS, str(root / folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  our own
    if done.returncode != 0:
        raise ValueError(done.stderr.strip().replace(str(root), ""))
    return done.stdout


def check(root: Path, documents: Iterable[Document]) -> Iterator[Problem]:
    """What is wrong with what is made of all folders."""
    for document in documents:
        if document.kind != KIND:
            continue
        try:
            made = parse(document.file, render(root, document.file.parent))
        except ValueError as error:
            yield Problem(document.file, 1, f"kustomize: {error}")
            continue
        yield from check_made(made, _readme(root / Path(*document.file.parts[:2]) / "README.md"))


def _readme(page: Path) -> str:
    """A README with those of its neighbours to which it leads."""
    if not page.exists():
        return ""
    text = page.read_text()
    linked = (page.parent / link for link in sorted(set(_NEIGHBOUR.findall(text))))
    return "\n".join([text, *(each.read_text() for each in linked if each.exists())])


def check_made(made: list[Document], readme: str) -> Iterator[Problem]:
    """What is wrong with the resources of one folder. Lines are not those of any file: each is called by its name."""
    for document in made:
        for check_one in (schemas.check, pods.check, egress.check, components.check_one):
            yield from (_named(document, problem) for problem in check_one(document))
    is_deployed = any(document.kind == components.COMPONENT and document.name == "statestore" for document in made)
    if is_deployed:
        yield from components.check_set(made[0].file, made)
    yield from references.check(made, readme)


def _named(document: Document, problem: Problem) -> Problem:
    return Problem(problem.file, 1, f"{document.data.get('kind')} {document.name}: {problem.what}")
