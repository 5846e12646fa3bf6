"""What the options of one connection may ask for, in a process that takes commands from others."""

from __future__ import annotations

from dataclasses import dataclass, fields

import orjson
from pydantic.alias_generators import to_camel

from runtime.models.options import MIB, WebSocketOptions


@dataclass(frozen=True, slots=True)
class OptionLimits:
    """The largest value of each option that costs memory or time; `options_bytes`: all options of a connection as JSON.

    A record that is there already keeps what it has.
    """

    max_handshake_bytes: int = MIB
    max_message_bytes: int = 256 * MIB
    max_fragments: int = 65_536
    queue_max_bytes: int = 4096 * MIB
    connect_timeout_s: float = 120
    assembly_timeout_s: float = 86_400
    options_bytes: int = 2 * MIB

    def refusal(self, options: WebSocketOptions) -> str | None:
        """Why these options ask for too much, with both numbers; None if they do not."""
        try:
            size = len(options.to_json())
        except orjson.JSONEncodeError:  # such as nesting that no reader takes
            return "the options cannot be written as JSON"
        for each in fields(self):
            limit = getattr(self, each.name)
            asked = size if each.name == "options_bytes" else getattr(options, each.name)
            name = "the size of all options" if each.name == "options_bytes" else to_camel(each.name)
            is_endless = each.name == "assembly_timeout_s" and asked == 0 and limit < _DEFAULT.assembly_timeout_s
            if asked > limit or is_endless:
                return f"{name} ({asked:.15g}) is above what is set here ({limit:.15g}, {limit_flag(each.name)})"
        return None


def limit_setting(name: str) -> str:
    """The setting for a limit: its unit stays at the end of the name."""
    return f"{name[:-2]}_limit_s" if name.endswith("_s") else f"{name}_limit"


def limit_flag(name: str) -> str:
    """The option of `wsm run` for a limit."""
    return "--" + limit_setting(name).replace("_", "-")


_DEFAULT = OptionLimits()
