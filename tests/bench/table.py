"""The figures of a run: a row each, in a table for people and as JSON for programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import median, quantiles
from typing import Any

from rich.table import Table


@dataclass(frozen=True)
class Result:
    """One row. `ratio` is the median over rounds, each against the reference of the same round; `spread` its range."""

    name: str
    value: float
    unit: str
    reference: str | None
    ratio: float
    spread: tuple[float, float]


@dataclass(frozen=True)
class Group:
    """Rows that were measured together. `about`: how, in JSON; `note`: how, below the table."""

    title: str
    rows: Sequence[Result]
    about: Mapping[str, object] = field(default_factory=dict)
    note: str = ""


def alone(name: str, unit: str, values: Sequence[float]) -> Result:
    """A row that is a reference for others: its spread is around its own median."""
    return _row(name, unit, values, None, [value / median(values) for value in values])


def against(name: str, unit: str, values: Sequence[float], reference: str, others: Sequence[float]) -> Result:
    """A row as a multiple of the reference, round by round."""
    return _row(name, unit, values, reference, [value / other for value, other in zip(values, others, strict=True)])


def percentile(values: Sequence[float], percent: int) -> float:
    """The value below which this many percent of the values are."""
    return quantiles(values, n=100, method="inclusive")[percent - 1]


def as_table(group: Group) -> Table:
    """For people."""
    table = Table("what", "median of rounds", "ratio", "lowest to highest", title=group.title)
    for row in group.rows:
        ratio = f"{row.ratio:.2f} of {row.reference.partition(',')[0]}" if row.reference else ""
        spread = f"{row.spread[0]:.2f} to {row.spread[1]:.2f}"
        table.add_row(row.name, f"{row.value:,.{0 if row.value >= 100 else 2}f} {row.unit}", ratio, spread)
    return table


def as_json(meta: Mapping[str, object], groups: Mapping[str, Group]) -> dict[str, Any]:
    """For programs: `meta` says of the machine, and of each group by its name, how it was measured."""
    about = {name: dict(group.about) for name, group in groups.items()}
    return {"meta": {**meta, **about}, "results": [asdict(row) for group in groups.values() for row in group.rows]}


def _row(name: str, unit: str, values: Sequence[float], reference: str | None, ratios: Sequence[float]) -> Result:
    spread = round(min(ratios), 3), round(max(ratios), 3)
    return Result(name, round(median(values), 3), unit, reference, round(median(ratios), 3), spread)
