"""The ways to write an IPv4 address so that something else is seen, for property tests."""

# ruff: noqa: RUF001 - letters that look like others are the point
from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address

from hypothesis import strategies as st

_DIGITS = ["0123456789", "０１２３４５６７８９", "⓪①②③④⑤⑥⑦⑧⑨", "𝟎𝟏𝟐𝟑𝟒𝟓𝟔𝟕𝟖𝟗", "⁰¹²³⁴⁵⁶⁷⁸⁹"]
_DOTS = [".", "。", "．", "｡"]
_INVISIBLE = ["", "\u00ad", "\u200b", "\u2060", "\ufeff"]


def _v6(number: int) -> str:
    return str(IPv6Address(number))


def _low(prefix: str) -> Callable[[IPv4Address], str]:
    base = int(IPv6Address(prefix))
    return lambda v4: _v6(base | int(v4))


CARRIERS: dict[str, Callable[[IPv4Address], str]] = {
    "IPv4-compatible": _low("::"),
    "IPv4-mapped": _low("::ffff:0:0"),
    "IPv4-translated": _low("::ffff:0:0:0"),
    "NAT64": _low("64:ff9b::"),
    "6to4": lambda v4: _v6(0x2002 << 112 | int(v4) << 80 | 1),
    "ISATAP": _low("2606:4700::5efe:0:0"),
    "ISATAP, universal": _low("2606:4700::200:5efe:0:0"),
}


@st.composite
def spellings(draw: st.DrawFn, v4: IPv4Address) -> str:
    """In one to four parts, each in any base, with digits and dots of any script, and a dot at the end or not."""
    octets = list(v4.packed)
    count = draw(st.integers(1, 4))
    parts = [*octets[: count - 1], int.from_bytes(octets[count - 1 :])]
    digits = str.maketrans(_DIGITS[0], draw(st.sampled_from(_DIGITS)))
    text = parts_text = ""
    for index, part in enumerate(parts):
        zeros = "0" * draw(st.integers(0, 3))
        style = draw(st.sampled_from(["{:d}", "0{}{:o}", "0x{}{:x}", "0X{}{:X}"]))
        parts_text = style.format(part) if style == "{:d}" else style.format(zeros, part)
        text += (draw(st.sampled_from(_DOTS)) if index else "") + parts_text.translate(digits)
    at = draw(st.integers(0, len(text)))
    invisible = draw(st.sampled_from(_INVISIBLE))
    return text[:at] + invisible + text[at:] + draw(st.sampled_from(["", *_DOTS]))


@st.composite
def urls_of_carriers(draw: st.DrawFn, v4: IPv4Address) -> str:
    """In an IPv6 address, short, long or in upper case, or with the last part in dots."""
    form = draw(st.sampled_from(sorted(CARRIERS)))
    address = IPv6Address(CARRIERS[form](v4))
    low = IPv4Address(int(address) & 0xFFFFFFFF)
    dotted = ":".join(address.exploded.split(":")[:6]) + f":{low}"
    written = draw(st.sampled_from([str(address), address.exploded, str(address).upper(), dotted]))
    return f"wss://u:p@[{written}]/path"
