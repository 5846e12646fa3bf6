"""All checks, one after the other."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from deploy.verify import (
    alerts,
    bicep,
    cloudformation,
    components,
    egress,
    forms,
    names,
    pods,
    rendered,
    schemas,
    sidecar,
)
from deploy.verify.documents import Document, files, load
from deploy.verify.problems import Problem

PARSED = (".yaml", ".yml", ".json")


def verify(root: Path) -> tuple[int, list[Problem]]:
    """How many files there are, and what is wrong with them. Raises MissingPartError when a check cannot be done."""
    every = list(files(root))
    documents, problems = read(root, every)
    for check in (of_files, cloudformation.check, rendered.check):
        problems += check(root, documents)
    problems += sidecar.check(documents)
    return len(every), sorted(set(problems))


def read(root: Path, every: list[Path]) -> tuple[list[Document], list[Problem]]:
    """All documents, and what is wrong with single lines."""
    documents: list[Document] = []
    problems: list[Problem] = []
    for file in every:
        text = (root / file).read_text()
        problems += names.check_variables(file, text)
        if file.parts[0] != ".github" and file.suffix != ".md":  # names there are those of workflows, images, pages
            problems += names.check_names(file, text)
        if file.suffix in PARSED:
            found, wrong = load(root, file)
            documents += found
            problems += wrong
        elif file.suffix == ".bicep":
            problems += bicep.check(root, file, text)
    return documents, problems


def of_files(root: Path, documents: list[Document]) -> Iterator[Problem]:
    """What is wrong with documents as they stand in their files."""
    parts = rendered.patches(documents)
    for document in documents:
        if document.file in parts or document.file.parts[0] == ".github" or cloudformation.is_template(document):
            yield from names.check_values(document)
            continue
        if document.kind:
            for check in (schemas.check, names.check_values, pods.check, egress.check, components.check_one):
                yield from check(document)
            yield from alerts.check(document, root)
        elif document.file.suffix != ".json":
            yield from forms.check(document, root)
    sets = [document for document in documents if document.file.parts[0] == "components"]
    for folder, group in groupby(sets, lambda document: document.file.parent):
        yield from components.check_set(folder, list(group))
