"""Who should hold what, as each host computes it for itself."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from runtime.placement import Share, excess, is_due_to, lightest, settled

hosts = st.dictionaries(
    st.sampled_from(["a", "b", "c", "d"]),
    st.builds(Share, load=st.integers(0, 500), max_connections=st.integers(0, 1000)),
    min_size=1,
)


def all_moves(shares: dict[str, Share]) -> list[tuple[str, str, int]]:
    return [(giver, taker, count) for giver in shares for taker, count in excess(giver, shares).items()]


def after(shares: dict[str, Share], moves: list[tuple[str, str, int]]) -> dict[str, Share]:
    loads = {id_: share.load for id_, share in shares.items()}
    for giver, taker, count in moves:
        loads[giver] -= count
        loads[taker] += count
    return {id_: Share(loads[id_], share.max_connections) for id_, share in shares.items()}


def test_a_fourth_host_gets_its_share_from_each_of_three_in_one_round():
    shares = {"a": Share(100, 1000), "b": Share(100, 1000), "c": Share(100, 1000), "d": Share(0, 1000)}
    assert sorted(all_moves(shares)) == [("a", "d", 25), ("b", "d", 25), ("c", "d", 25)]


def test_shares_follow_what_each_host_may_hold():
    shares = {"a": Share(300, 1000), "b": Share(0, 500)}
    assert all_moves(shares) == [("a", "b", 100)]


def test_a_small_difference_moves_nothing():
    assert all_moves({"a": Share(102, 1000), "b": Share(98, 1000)}) == []
    assert all_moves({"a": Share(1, 1000), "b": Share(0, 1000)}) == []


@given(hosts)
def test_hosts_that_decide_alone_never_give_anybody_more_than_it_lacks(shares: dict[str, Share]):
    moved = after(shares, all_moves(shares))
    total, capacity = sum(s.load for s in shares.values()), sum(s.max_connections for s in shares.values())
    for id_, share in moved.items():
        if share.load > shares[id_].load:
            fair = total * share.max_connections / capacity
            assert share.load <= fair + len(shares), (shares, moved)  # each giver may round up once


@given(hosts)
def test_rounds_come_to_rest(shares: dict[str, Share]):
    for _ in range(6):
        moves = all_moves(shares)
        if not moves:
            return
        shares = after(shares, moves)
    raise AssertionError(shares)


def test_what_is_in_no_lease_while_it_moves_lets_nobody_give():
    """Host a deals 80 of 100 out. Its lease says so already, that of d does not yet say what it got."""
    full = {"a": Share(100, 1000)} | {id_: Share(0, 1000) for id_ in "bcde"}
    moving = {id_: Share(20, 1000) for id_ in "abce"} | {"d": Share(3, 1000)}
    assert excess("e", moving) == {"d": 3}
    assert excess("e", settled("e", full, moving)) == {}


def test_what_a_host_has_claimed_of_a_dead_one_counts_only_when_others_have_told_what_they_claimed():
    before = {id_: Share(20, 1000) for id_ in "abcd"}
    claimed = before | {"a": Share(25, 1000)}
    assert excess("a", claimed) == {"b": 1, "c": 1, "d": 1}
    assert excess("a", settled("a", before, claimed)) == {}


def test_an_excess_that_lasts_is_given_at_the_second_look():
    shares = {"a": Share(100, 1000), "b": Share(0, 1000)}
    assert excess("a", settled("a", {}, shares)) == {}
    assert excess("a", settled("a", shares, shares)) == {"b": 50}


@given(hosts)
def test_what_does_not_change_is_settled(shares: dict[str, Share]):
    assert all(settled(id_, shares, shares) == shares for id_ in shares)


def test_the_lightest_has_most_room_in_proportion_and_nobody_is_chosen_when_all_are_full():
    assert lightest({"a": Share(10, 100), "b": Share(10, 1000)}) == "b"
    assert lightest({"a": Share(10, 100), "b": Share(0, 0)}) == "a"
    assert lightest({"a": Share(100, 100)}) is None
    assert lightest({}) is None


def test_every_connection_falls_to_exactly_one_of_the_living_hosts_and_each_gets_its_part():
    living = ["a", "b", "c"]
    ids = [f"c{number}" for number in range(900)]
    due = Counter(host for host in living for id_ in ids if is_due_to(host, id_, living))
    assert due.total() == len(ids)
    assert min(due.values()) > 200


def test_a_host_that_sees_nobody_looks_after_all():
    assert is_due_to("a", "c1", [])
