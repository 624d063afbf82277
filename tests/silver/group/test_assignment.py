"""Invariant: every partition of every topic that a member subscribes has one owner, or no assignment stands."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.cluster import ClusterMetadata
from aiokafka.coordinator.protocol import ConsumerProtocolMemberMetadata
from aiokafka.structs import PartitionMetadata
from faust.assignor import PartitionAssignor
from hypothesis import example, given
from hypothesis import strategies as st

from config.settings import Settings
from silver_processor.group.app import silver_app
from silver_processor.group.membership import IncompleteAssignmentError, WholeAssignor

BRONZE = "market.crypto.trades.bronze"


def cluster(partitions: dict[str, int]) -> ClusterMetadata:
    """What a leader knows: topic → partitions; 0 is a topic that the broker names without any."""
    known = ClusterMetadata()
    known._partitions = {
        topic: {number: PartitionMetadata(topic, number, 1, [1], [1], None) for number in range(count)}
        for topic, count in partitions.items()
    }
    return known


def member(
    refused: Callable[[IncompleteAssignmentError], object] = lambda _: None,
    refresh: Callable[[], object] = lambda: None,
) -> WholeAssignor:
    """As the worker makes it: by its app. The app's consumer is replaced, as there is no broker."""
    app = silver_app(Settings(), refused)
    app.consumer = SimpleNamespace(refresh_metadata=refresh)
    assert isinstance(app.assignor, WholeAssignor)
    return app.assignor


def group(members: dict[str, WholeAssignor], topics: set[str]) -> dict[str, ConsumerProtocolMemberMetadata]:
    """What the leader is told of each member, through the wire format."""
    return {name: ConsumerProtocolMemberMetadata.decode(one.metadata(topics).encode()) for name, one in members.items()}


def owners(assigned: dict[str, Any]) -> Counter[tuple[str, int]]:
    return Counter(tuple(place) for one in assigned.values() for place in one.partitions())


@pytest.mark.parametrize("known", [{}, {BRONZE: 0}, {"another": 4}])
def test_a_leader_that_does_not_know_the_topic_hands_out_nothing(known: dict[str, int]) -> None:
    """Seed 625283802: the leader joined again before the broker, just started, knew the topic."""
    refusals, questions = [], []
    members = {"a": member(refusals.append, lambda: questions.append(1)), "b": member()}
    # What Faust does with it, and why we may not: everybody gets an assignment, of nothing.
    assert owners(PartitionAssignor.assign(members["a"], cluster(known), group(members, {BRONZE}))) == {}
    questions.clear()
    with pytest.raises(IncompleteAssignmentError, match=f"no partitions of {BRONZE}"):
        members["a"].assign(cluster(known), group(members, {BRONZE}))
    assert len(refusals) == 1
    # Before the join and after the refusal, so that the next attempt knows better.
    assert len(questions) == 2


@given(
    rounds=st.lists(
        st.tuples(st.integers(1, 6), st.dictionaries(st.sampled_from([BRONZE, "other"]), st.integers(0, 9))),
        min_size=1, max_size=4,
    ),
    both=st.booleans(),
)  # fmt: skip
@example(rounds=[(2, {BRONZE: 4}), (2, {}), (2, {BRONZE: 4}), (3, {BRONZE: 8})], both=False)
@example(rounds=[(3, {BRONZE: 8}), (3, {BRONZE: 2})], both=False)
@example(rounds=[(2, {BRONZE: 4, "other": 4}), (2, {BRONZE: 4}), (2, {BRONZE: 6, "other": 4})], both=True)
def test_all_or_nothing_through_any_rebalances(rounds: list[tuple[int, dict[str, int]]], both: bool) -> None:
    """Members come and go and remember what they had, partitions and topics appear and disappear."""
    topics = {BRONZE, "other"} if both else {BRONZE}
    members: dict[str, WholeAssignor] = {}
    for count, known in rounds:
        members = {str(place): members.get(str(place)) or member() for place in range(count)}
        told = group(members, topics)
        wanted = {(topic, number) for topic in topics for number in range(known.get(topic, 0))}
        if any(not known.get(topic) for topic in topics):
            with pytest.raises(IncompleteAssignmentError):
                members["0"].assign(cluster(known), told)
            continue
        assigned = members["0"].assign(cluster(known), told)
        assert owners(assigned) == dict.fromkeys(wanted, 1)
        for name, one in members.items():
            one.on_assignment(assigned[name])
            # Each member knows what all of them own.
            assert {(topic, number) for topic in topics for number in one.owned(topic)} == wanted


def test_what_an_assignor_gives_out_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever Faust makes of its input, now or after an upgrade: what does not cover the topic is refused."""
    given_out = PartitionAssignor.assign

    def careless(self: Any, known: Any, told: Any) -> Any:
        assigned = given_out(self, known, told)
        assigned["a"].assignment[0][1].pop()
        return assigned

    monkeypatch.setattr(PartitionAssignor, "assign", careless)
    members = {"a": member(), "b": member()}
    with pytest.raises(IncompleteAssignmentError, match="gave out"):
        members["b"].assign(cluster({BRONZE: 4}), group(members, {BRONZE}))
