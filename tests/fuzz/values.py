"""JSON of every kind, and valid JSON with faults in it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

NUMBERS = [0, 1, -1, 0.5, 1e-9, 1e308, 2**31, 2**53, 2**63, 2**64, -(2**63), 10**30, 86_400, 1e6]
TEXTS = ["", " ", "\x00", "\n", "é", "🙂", "${a}", "$${a}", "a||b", "index", "x" * 300, "2026-01-01T00:00:00Z", "null"]
text = st.sampled_from(TEXTS) | st.text(max_size=20).filter(lambda found: found.isprintable()) | st.text(max_size=20)
clean_text = text.map(lambda found: found.encode(errors="replace").decode())  # as every JSON parser gives it
number = st.sampled_from(NUMBERS) | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
scalar = st.none() | st.booleans() | number | clean_text
deep = st.integers(2, 400).map(lambda levels: json.loads("[" * levels + "]" * levels))
value = st.recursive(
    scalar, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(clean_text, inner, max_size=4), max_leaves=8
)
anything = value | deep


def as_bytes(found: Any) -> bytes:
    """The JSON of it."""
    return json.dumps(found, ensure_ascii=False).encode()


def places(found: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value in it."""
    yield path
    inner = found.items() if isinstance(found, dict) else enumerate(found) if isinstance(found, list) else ()
    for key, each in inner:
        yield from places(each, (*path, key))


@st.composite
def mutated(draw: st.DrawFn, valid: st.SearchStrategy[Any], most: int = 3) -> Any:
    """Valid JSON in which some values were exchanged, taken out or added."""
    found = json.loads(json.dumps(draw(valid)))
    for _ in range(draw(st.integers(0, most))):
        paths = [path for path in places(found) if path]
        if not paths:
            return found
        *way, last = draw(st.sampled_from(paths))
        holder = found
        for key in way:
            holder = holder[key]
        match draw(st.sampled_from(["exchange", "remove", "add", "letters"])):
            case "exchange":
                holder[last] = draw(anything)
            case "remove":
                del holder[last]
            case "add" if isinstance(holder, dict):
                holder[draw(clean_text)] = draw(anything)
            case "letters" if isinstance(holder, dict):
                holder[last.swapcase()] = draw(anything)
    return found


@st.composite
def mutated_bytes(draw: st.DrawFn, valid: st.SearchStrategy[bytes]) -> bytes:
    """Valid bytes, of which some were exchanged, taken out, doubled or cut off."""
    found = bytearray(draw(valid))
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(found)))
        end = start + draw(st.integers(0, 8))
        part = bytes(found[start:end])
        found[start:end] = draw(st.sampled_from([b"", part * 2, part[::-1]]) | st.binary(max_size=8))
    return bytes(found[: draw(st.sampled_from([len(found), len(found) // 2]))])
