"""The policy of the guard: what it says of a URL's host, and of each address to which that resolves."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv6Network, ip_address

from runtime.guard.carriers import Carried, carried
from runtime.guard.entries import Entry
from runtime.guard.ranges import Address, Rule, rule_of
from runtime.urls import Endpoint


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the guard says of a host or an address, and the rule by which it says so."""

    subject: str
    is_allowed: bool
    rule: str

    @property
    def refusal(self) -> str | None:
        """The refusal in words; None if it is allowed."""
        return None if self.is_allowed else f"the guard refuses {self.subject}: {self.rule}"


@dataclass(frozen=True, slots=True)
class Guard:
    """What may be dialled. Whatever `deny` names is refused; then what `allow_only` does not name, if it names any.

    Then each rule for addresses that lead inside, unless it is lifted: by `allow_private` and by a name in `allow` for
    loopback and private networks only, so that no name leads to a metadata service; by an address in `allow` for
    whatever rule holds all of that entry. `nat64`: prefixes of translators, beside the well-known one.
    """

    allow_private: bool
    allow: tuple[Entry, ...] = ()
    allow_only: tuple[Entry, ...] = ()
    deny: tuple[Entry, ...] = ()
    nat64: tuple[IPv6Network, ...] = ()

    def judge_host(self, endpoint: Endpoint) -> Verdict | None:
        """What can be said before a name is resolved: of an address all, of a name whether lists refuse it."""
        if endpoint.address is not None:
            return self.judge(endpoint, endpoint.host)
        denied = next((entry for entry in self.deny if entry.has_host(endpoint)), None)
        if denied is not None:
            return Verdict(endpoint.host, False, _denied(denied))
        may_yet = any(entry.has_host(endpoint) or _is_for_networks(entry, endpoint) for entry in self.allow_only)
        if self.allow_only and not may_yet:
            return Verdict(endpoint.host, False, _not_listed(endpoint))
        return None

    def judge_behind_proxy(self, endpoint: Endpoint) -> Verdict | None:
        """As `judge_host`; but no address of a name will be seen, so a list of what may be dialled must name it."""
        verdict = self.judge_host(endpoint)
        if verdict is None and self.allow_only and not any(entry.has_host(endpoint) for entry in self.allow_only):
            return Verdict(endpoint.host, False, _not_listed(endpoint))
        return verdict

    def judge(self, endpoint: Endpoint, address: str) -> Verdict:
        """What is said of an address to which a URL's host resolves. Raises ValueError if this is no address."""
        found = ip_address(address.partition("%")[0])
        inner = carried(found, self.nat64)
        for entry in self.deny:
            if entry.has_host(endpoint) or any(
                entry.has_address(each, endpoint.port) for each in (found, *(one.address for one in inner))
            ):
                return Verdict(address, False, _denied(entry))
        reached = next((one.address for one in inner if one.is_destination), found)
        if self.allow_only and not any(
            entry.has_host(endpoint) or entry.has_address(reached, endpoint.port) for entry in self.allow_only
        ):
            return Verdict(address, False, _not_listed(endpoint))
        return self._judge_by_rules(endpoint, address, found, inner)

    def _judge_by_rules(self, endpoint: Endpoint, text: str, found: Address, inner: list[Carried]) -> Verdict:
        """No address in it may meet a rule; a translator's own prefix does not count beside what it carries."""
        judged: list[tuple[Address, str]] = [] if any(one.is_destination for one in inner) else [(found, "")]
        judged += [(one.address, f", by {one.address} in it ({one.form})") for one in inner]
        permits: list[str] = []
        for address, how in judged:
            rule = rule_of(address)
            if rule is None:
                continue
            permit = self._permit(endpoint, address, rule)
            if permit is None:
                return Verdict(text, False, f"{rule}{how}; {_advice(rule, address)}")
            permits.append(f"{rule}{how}, permitted by {permit}")
        return Verdict(text, True, "; ".join(permits) or "no rule refuses it")

    def _permit(self, endpoint: Endpoint, address: Address, rule: Rule) -> str | None:
        """The setting that lifts a rule for an address."""
        for entry in self.allow:
            if rule.is_private and entry.has_host(endpoint):
                return f"--allow {entry.text}"
            if entry.lifts(rule) and entry.has_address(address, endpoint.port):
                return f"--allow {entry.text}"
        return "--allow-private" if rule.is_private and self.allow_private else None


def _is_for_networks(entry: Entry, endpoint: Endpoint) -> bool:
    return entry.network is not None and endpoint.port in entry.ports


def _denied(entry: Entry) -> str:
    return f"denied by --deny {entry.text}"


def _not_listed(endpoint: Endpoint) -> str:
    return f"with port {endpoint.port} it is not in --allow-only"


def _advice(rule: Rule, address: Address) -> str:
    if rule.is_fixed:
        return "with its prefix in --nat64 what it carries is judged instead"
    return f"--allow-private or --allow {address} permits it" if rule.is_private else f"--allow {address} permits it"
