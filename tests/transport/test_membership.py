"""A client that cannot get into its group must not look like one that has nothing to do."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from subprocess import PIPE

import pytest

from consumer.errors import FatalError
from consumer.transport.kafka import KafkaTransport
from consumer.transport.kafka_config import KafkaOptions
from consumer.transport.membership import GroupMembership
from schemas.connection import KafkaConnection
from tests.transport.test_contract import Listener

SESSION_MS = 6_000
DEADLINE_S = 60.0
MEMBER = """
import json, sys
from confluent_kafka import Consumer

member = Consumer(
    {
        **json.loads(sys.argv[1]),
        "group.id": sys.argv[2],
        "partition.assignment.strategy": "cooperative-sticky",
        "session.timeout.ms": 120_000,
        "max.poll.interval.ms": 120_000,
    }
)
member.subscribe([sys.argv[2]])
while not member.assignment():
    member.poll(0.1)
print("joined", flush=True)
while True:
    member.poll(0.1)
"""


def statistics(coordinator: str, member: str) -> str:
    return json.dumps({"cgrp": {"state": coordinator, "join_state": member}})


def test_only_the_time_outside_counts_and_not_while_the_cluster_is_away() -> None:
    now_s = 0.0
    membership = GroupMembership(10.0, clock=lambda: now_s)
    membership.on_statistics(statistics("up", "wait-join"))
    now_s = 9.0
    membership.check(is_cluster_away=True)
    now_s = 18.0
    membership.check(is_cluster_away=False)
    membership.on_statistics(statistics("up", "steady"))
    now_s = 100.0
    membership.check(is_cluster_away=False)
    membership.on_statistics(statistics("wait-coord", "init"))
    now_s = 111.0
    with pytest.raises(FatalError, match="coordinator: wait-coord, member: init"):
        membership.check(is_cluster_away=False)


@pytest.mark.kafka
def test_who_waits_for_its_group_longer_than_a_rebalance_may_take_ends(
    kafka: KafkaConnection, make_topic: Callable[..., str]
) -> None:
    topic = make_topic(partitions=2)
    # The group waits for a frozen member as long as that member's own session lasts.
    member = subprocess.Popen([sys.executable, "-c", MEMBER, json.dumps(kafka.as_librdkafka()), topic], stdout=PIPE)
    transport = KafkaTransport(
        KafkaOptions(
            connection=kafka.as_librdkafka(),
            group_id=topic,
            replica_id="0",
            events_topic=topic,
            static_membership=False,
            session_timeout_ms=SESSION_MS,
            max_poll_interval_ms=SESSION_MS,
            transaction_timeout_ms=10_000,
            outage_budget_s=20,
            max_output_bytes=1_000_000,
        )
    )
    try:
        assert member.stdout is not None
        assert member.stdout.readline() == b"joined\n"
        member.send_signal(signal.SIGSTOP)
        transport.start(Listener())
        with pytest.raises(FatalError, match=r"outside its group for .* member: wait-join"):
            poll_for_a_minute(transport)
    finally:
        member.kill()
        member.communicate()
        transport.close()


def poll_for_a_minute(transport: KafkaTransport) -> None:
    deadline_s = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline_s:
        transport.poll(1, 0.2)
