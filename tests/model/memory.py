"""Most of a history's cost is reading the same few values again and again; that is pure, and so can be remembered."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

from runtime import records


@contextmanager
def remembering() -> Iterator[None]:
    """Read each stored value once. Records are frozen, and the model attaches nothing to them."""
    decode, read_record = records.decode, records._read_record
    modules = [module for name, module in sys.modules.items() if name.startswith("runtime.")]
    users = [module for module in modules if getattr(module, "decode", None) is decode]
    remembered = lru_cache(4096)(decode)
    try:
        for module in users:
            module.decode = remembered  # type: ignore[attr-defined]
        records._read_record = lru_cache(4096)(read_record)
        yield
    finally:
        for module in users:
            module.decode = decode  # type: ignore[attr-defined]
        records._read_record = read_record
