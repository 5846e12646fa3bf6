"""Alerts: expressions that can be read, on metrics that a process shows, and a page that says what to do."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import promql_parser
from prometheus_client.parser import text_string_to_metric_families

from deploy.verify.documents import Document
from deploy.verify.problems import Problem
from runtime.adapters.metrics import PrometheusMeters
from runtime.ports import Gauges

KIND = "monitoring.coreos.com/v1/PrometheusRule"
PROMISES = frozenset("12345")
"""Those of the design, as the README has them: each has an alert."""
_METRIC = re.compile(r"\bwsm_[a-z_]+\b")
_LINK = re.compile(r"docs/runbook\.md#([a-z0-9-]+)")


@cache
def shown() -> frozenset[str]:
    """The names of all samples of `/metrics`, those included that come with the first event of their kind."""
    meters = PrometheusMeters({"version": "", "profile": "", "mode": ""}, lambda: 0.0)
    meters.gauges = lambda: Gauges(lease_age_s=0.0)
    meters.gap_announced("blind", 0)
    meters.handed_over(is_complete=True)
    meters.redial_planned("refused")
    meters.command_ended("connect", "accepted")
    families = text_string_to_metric_families(meters.text().decode())
    return frozenset(sample.name for family in families for sample in family.samples)


def check(document: Document, root: Path) -> Iterator[Problem]:
    """What is wrong with a rule file."""
    if document.kind != KIND:
        return
    promises = set()
    headings = _headings(root)
    for group_number, group in enumerate(document.data.get("spec", {}).get("groups", [])):
        for number, rule in enumerate(group.get("rules", [])):
            keys = ("spec", "groups", group_number, "rules", number)
            promises.add(rule.get("labels", {}).get("promise"))
            expression = str(rule.get("expr"))
            try:
                promql_parser.parse(expression)
            except ValueError as error:
                yield document.problem((*keys, "expr"), f"no PromQL: {error}")
            for name in _METRIC.findall(expression):
                if name not in shown():
                    yield document.problem((*keys, "expr"), f"/metrics shows no {name}")
            link = _LINK.fullmatch(str(rule.get("annotations", {}).get("runbook_url")))
            wanted = str(rule.get("alert")).lower()
            if link is None or link[1] != wanted:
                where = (*keys, "annotations", "runbook_url")
                yield document.problem(where, f"must be docs/runbook.md#{wanted}")
            elif link[1] not in headings:
                where = (*keys, "annotations", "runbook_url")
                yield document.problem(where, f"docs/runbook.md has no heading {rule.get('alert')}")
    for promise in sorted(PROMISES - promises):
        yield document.problem(("spec",), f"promise {promise} has no alert")


def _headings(root: Path) -> set[str]:
    page = root / "docs" / "runbook.md"
    lines = page.read_text().splitlines() if page.exists() else []
    return {line.lstrip("#").strip().lower().replace(" ", "-") for line in lines if line.startswith("#")}
