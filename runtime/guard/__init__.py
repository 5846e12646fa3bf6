"""Which URLs may be dialled: rules for addresses, and lists of hosts, networks and ports."""

from runtime.guard.policy import Guard, Verdict

__all__ = ["Guard", "Verdict"]
