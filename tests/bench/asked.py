"""What a state store on Redis is asked for, a line for each key, as Redis' own MONITOR shows it."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from socket import create_connection

_LINE = re.compile(rb'\+?([\d.]+) \[\d+ (?!lua\])[^\]]+\] "(\w+)".*?"statestore\|\|([^"\\]+)"', re.DOTALL)
"""A command from outside; what a script does inside is shown too, and belongs to the call of the script."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One read or write of one key, which a bulk call makes for each of its keys. `at`: a Unix time."""

    key: str
    is_write: bool
    at: float = field(default=0.0, compare=False)


def asked_within(port: int, seconds: float) -> list[Asked]:
    """All that the store is asked for from now on, for some time."""
    got, end = bytearray(), time.monotonic() + seconds
    with create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(b"MONITOR\r\n")
        while (left_s := end - time.monotonic()) > 0:
            connection.settimeout(left_s)
            with suppress(TimeoutError):
                got += connection.recv(1 << 16)
    return read(bytes(got).split(b"\r\n"))


def read(lines: Iterable[bytes]) -> list[Asked]:
    """What the lines of MONITOR say of the store."""
    found = (_LINE.match(line) for line in lines)
    return [Asked(match[3].decode(), match[2].upper() != b"HGETALL", float(match[1])) for match in found if match]


def windows_of(asked: Sequence[Asked], count: int, window_s: float, interval_s: float) -> list[list[Asked]]:
    """So many windows, one after the other, for which `asked` must be longer by two intervals.

    They are cut where least happens between two beats: what comes at every interval is in each of them equally often.
    """
    phases = sorted(each.at % interval_s for each in asked)
    gaps = [(after - before, before) for before, after in pairwise([*phases, phases[0] + interval_s])]
    gap_s, before = max(gaps)
    start = asked[0].at + (before + gap_s / 2 - asked[0].at) % interval_s
    ends = [start + number * window_s for number in range(count + 1)]
    assert asked[-1].at >= ends[-1] - interval_s, "nothing was asked at the end"
    return [[each for each in asked if begin <= each.at < end] for begin, end in pairwise(ends)]
