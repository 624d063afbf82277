"""Which worker of the group consumes which partition; an assignment that leaves one out is refused.

Faust's own assignor skips a topic that the leader's metadata lacks, as it does for a moment after a broker's restart:
every worker would be given nothing, and wait for ever. This is the one module that knows Faust's assignor and what
aiokafka does with it; tests/silver/test_assignment.py holds what it rests on:

- aiokafka calls `metadata` before every join, and waits for a metadata update under way before it calls `assign`.
- An exception of `assign` ends the attempt to join; `silver_processor.group.transport` has it tried again. The leader
  stays the leader, and the workers that wait for its answer wait on.
- Every member is told what every other one got, by the member's URL. Faust makes it of host and port, which two workers
  of one machine would share: hence `own_url`.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from typing import Any

from faust.assignor import PartitionAssignor
from faust.assignor.client_assignment import ClientAssignment


class IncompleteAssignmentError(RuntimeError):
    """The leader's metadata or its assignment lacks partitions of a subscribed topic; the group joins again."""


def own_url() -> str:
    """A URL that no other worker has: Faust's key for a member."""
    return f"silver://{uuid.uuid4().hex}"


def _nothing(*_: object) -> None:
    """Until the worker is wired, nobody is asked or told."""


class WholeAssignor(PartitionAssignor):  # type: ignore[misc]
    """Faust's assignor, on fresh metadata, and only for all partitions of all subscribed topics."""

    def __init__(self, app: Any, replicas: int = 0) -> None:
        super().__init__(app, replicas)
        #: Asks the broker for metadata; set where the consumer is made.
        self.refresh: Callable[[], object] = _nothing
        #: Told of every refusal.
        self.refused: Callable[[IncompleteAssignmentError], object] = _nothing

    def metadata(self, topics: Any) -> Any:
        """What this member tells the group when it joins."""
        self.refresh()
        return super().metadata(topics)

    def assign(self, cluster: Any, member_metadata: Any) -> Any:
        """Partitions by member; called on the group's leader only.

        Raises:
            IncompleteAssignmentError: a partition of a subscribed topic would have no owner, or two.
        """
        try:
            return self._whole(cluster, member_metadata)
        except IncompleteAssignmentError as error:
            self.refused(error)
            self.refresh()
            raise

    def _whole(self, cluster: Any, member_metadata: Any) -> Any:
        wanted = _known(cluster, {topic for member in member_metadata.values() for topic in member.subscription})
        assigned = super().assign(cluster, member_metadata)
        owned = sorted(place for member in assigned.values() for place in member.partitions())
        if owned != wanted:
            raise IncompleteAssignmentError(f"the assignor gave out {owned} of the partitions {wanted}")
        return assigned

    @classmethod
    def _get_client_metadata(cls, metadata: Any) -> Any:
        """A member without the memory of what it had, which Faust cannot divide where a topic has fewer partitions now.

        It would save nothing: a rebalance revokes all partitions first.
        """
        client = super()._get_client_metadata(metadata)
        client.assignment = ClientAssignment(actives={}, standbys={})
        return client

    def owned(self, topic: str) -> frozenset[int]:
        """The partitions that have an owner in the assignment this worker was told last."""
        by_member: Mapping[str, Mapping[str, list[int]]] = self.external_topics_metadata()
        return frozenset(number for topics in by_member.values() for number in topics.get(topic, ()))


def _known(cluster: Any, topics: set[str]) -> list[tuple[str, int]]:
    known = {topic: cluster.partitions_for_topic(topic) for topic in sorted(topics)}
    missing = [topic for topic, numbers in known.items() if not numbers]
    if missing:
        raise IncompleteAssignmentError(
            f"the broker names no partitions of {', '.join(missing)}: it has just started, or the topic does not exist"
        )
    return sorted((topic, number) for topic, numbers in known.items() for number in numbers)
