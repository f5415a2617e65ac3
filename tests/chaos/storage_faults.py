"""Faults of PostgreSQL, and of what operators do to the place where a group stands."""

import random
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient
from sqlalchemy import create_engine, make_url, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from devstack.postgres import Postgres
from tests.chaos.faults import Arena, Fault
from tests.chaos.fleet import NotInjectedError
from tests.chaos.proxy import Proxy
from tests.chaos.stage import GROUP, MAX_WINDOW_RECORDS, Stage, private_stage

_DISTURBANCE_S: Final = 5.0
_TERMINATE: Final = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'feedback-consumer'"
)
_MUST_STOP_S: Final = 40.0
# So far behind the ledger a crash may leave the offsets: it is taken for one, as docs/reliability.md says.
_IN_FLIGHT_RECORDS: Final = 2 * MAX_WINDOW_RECORDS
_REQUEST_TIMEOUT_S: Final = 30.0


@contextmanager
def storage_stage(name: str) -> Iterator[Stage]:
    """A private stage whose consumers reach PostgreSQL through a proxy."""
    with private_stage(name) as stage, Proxy(_server(stage).port) as proxy:
        url = make_url(stage.variables["DATABASE_URL"]).set(port=proxy.port)
        variables = {**stage.variables, "DATABASE_URL": url.render_as_string(hide_password=False)}
        yield replace(stage, variables=variables, proxies=(proxy,))


def _server(stage: Stage) -> Postgres:
    if stage.stack is None:
        raise NotInjectedError("the database server is not ours to break")
    return stage.stack.postgres


def _execute(stage: Stage, *statements: str) -> None:
    # It must be able to end the read-only mode that it began.
    writable = {"options": "-c default_transaction_read_only=off"}
    engine = create_engine(
        stage.database.sqlalchemy_url(), poolclass=NullPool, connect_args=writable, isolation_level="AUTOCOMMIT"
    )
    with engine.connect() as connection:
        for statement in statements:
            connection.execute(text(statement))


def _away(arena: Arena, chooser: random.Random, *, end: Callable[[Postgres], None]) -> None:
    server = _server(arena.stage)
    with arena.servers:
        end(server)
        try:
            time.sleep(chooser.uniform(1.0, _DISTURBANCE_S))
        finally:
            server.start()


def _terminated(arena: Arena, _: random.Random) -> None:
    for _turn in range(20):
        with suppress(SQLAlchemyError):
            _execute(arena.stage, f"{_TERMINATE} AND state <> 'idle'")
        time.sleep(0.1)


def _cut(arena: Arena, chooser: random.Random) -> None:
    for _turn in range(8):
        for proxy in arena.stage.proxies:
            proxy.cut()
        time.sleep(chooser.uniform(0.05, 0.5))


def _half_open(arena: Arena, _: random.Random) -> None:
    for proxy in arena.stage.proxies:
        proxy.is_half_open = True
    try:
        time.sleep(_DISTURBANCE_S)
    finally:
        for proxy in arena.stage.proxies:
            proxy.heal()


def _locked(arena: Arena, _: random.Random) -> None:
    engine = create_engine(arena.stage.database.sqlalchemy_url(), poolclass=NullPool)
    with suppress(SQLAlchemyError), engine.begin() as connection:
        connection.execute(text("LOCK TABLE feedback IN ACCESS EXCLUSIVE MODE"))
        time.sleep(_DISTURBANCE_S)


def _raised(arena: Arena, _: random.Random, *, sqlstate: str, share: float) -> None:
    # Named after its state: two of them may be at work at once.
    name = f"chaos_{sqlstate.lower()}"
    body = f"BEGIN IF random() < {share} THEN RAISE EXCEPTION USING ERRCODE = '{sqlstate}'; END IF; RETURN NEW; END"
    _execute(
        arena.stage,
        f"CREATE OR REPLACE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $${body}$$",
        f"CREATE OR REPLACE TRIGGER {name} BEFORE INSERT ON feedback FOR EACH ROW EXECUTE FUNCTION {name}()",
    )
    try:
        time.sleep(_DISTURBANCE_S)
    finally:
        _insist(arena.stage, f"DROP TRIGGER IF EXISTS {name} ON feedback")


def _read_only(arena: Arena, _: random.Random) -> None:
    database = make_url(arena.stage.database.sqlalchemy_url()).database
    _execute(arena.stage, f"ALTER DATABASE {database} SET default_transaction_read_only = on", _TERMINATE)
    try:
        time.sleep(_DISTURBANCE_S)
    finally:
        _insist(arena.stage, f"ALTER DATABASE {database} RESET default_transaction_read_only", _TERMINATE)


def _insist(stage: Stage, *statements: str) -> None:
    """End a disturbance although the server may be away because of another one."""
    deadline_s = time.monotonic() + _MUST_STOP_S
    while True:
        try:
            _execute(stage, *statements)
        except SQLAlchemyError:
            if time.monotonic() > deadline_s:
                raise
            time.sleep(0.2)
        else:
            return


def _failover(arena: Arena, _: random.Random, *, is_running: bool) -> None:
    """The server comes back as a copy that lacks the last seconds, and afterwards as it was."""
    server = _server(arena.stage)
    copy, whole = server.data.with_name("copy"), server.data.with_name("whole")
    for leftover in (copy, whole):
        shutil.rmtree(leftover, ignore_errors=True)
    server.stop()
    _copy(server.data, copy)
    in_copy = _offsets(arena)
    server.start()
    _wait_until_all_are_ahead(arena, in_copy)
    if not is_running:
        arena.fleet.scale(0)
    with arena.fleet.expecting_exits():
        server.stop()
        server.data.rename(whole)
        copy.rename(server.data)
        server.start()
        failed_over_s = time.monotonic()
        arena.fleet.scale(arena.replicas)
        # Where they worked on the copy it is theirs from now on, and the audit shows what is missing.
        if _has_stopped(arena, failed_over_s, "lost rows"):
            arena.fleet.scale(0)
            server.stop()
            shutil.rmtree(server.data)
            whole.rename(server.data)
            server.start()


def _offsets_reset(arena: Arena, _: random.Random) -> None:
    """Somebody puts the group back to the beginning."""
    admin = AdminClient(arena.stage.librdkafka)
    if not arena.fleet.wait_until(lambda: min(_offsets(arena).values()) > _IN_FLIGHT_RECORDS, _MUST_STOP_S):
        raise NotInjectedError("too little was consumed for a reset to be told from a crash")
    arena.fleet.scale(0)
    with arena.fleet.expecting_exits():
        committed = [TopicPartition(arena.stage.events, *each) for each in sorted(_offsets(arena).items())]
        _commit(admin, [TopicPartition(each.topic, each.partition, 0) for each in committed])
        reset_s = time.monotonic()
        arena.fleet.scale(arena.replicas)
        if _has_stopped(arena, reset_s, "somebody reset"):
            arena.fleet.scale(0)
            _commit(admin, committed)


def _offsets(arena: Arena) -> dict[int, int]:
    """The group's committed offset of each partition, below 0 for none.

    Asked as a consumer that joins nothing: librdkafka's question for administrators ends the process where the
    coordinator still loads.
    """
    topic = arena.stage.events
    client = Consumer({**arena.stage.librdkafka, "group.id": GROUP})
    try:
        partitions = client.list_topics(topic, timeout=_REQUEST_TIMEOUT_S).topics[topic].partitions
        positions = [TopicPartition(topic, number) for number in partitions]
        return {each.partition: each.offset for each in client.committed(positions, _REQUEST_TIMEOUT_S)}
    finally:
        client.close()


def _commit(admin: AdminClient, positions: list[TopicPartition]) -> None:
    """Put the group's offsets where they are told to be, once nobody is in it any more.

    Raises:
        NotInjectedError: the brokers refuse for too long.
    """
    deadline_s = time.monotonic() + _REQUEST_TIMEOUT_S
    while True:
        [future] = admin.alter_consumer_group_offsets([ConsumerGroupTopicPartitions(GROUP, positions)]).values()
        refused: list[object]
        try:
            refused = [each.error for each in future.result(_REQUEST_TIMEOUT_S).topic_partitions if each.error]
        except KafkaException as error:
            refused = [error]
        if not refused:
            return
        if time.monotonic() > deadline_s:
            raise NotInjectedError(f"the group's offsets cannot be set: {refused[0]}")
        time.sleep(0.2)


def _has_stopped(arena: Arena, since_s: float, words: str) -> bool:
    """Whether consumers end with these words as their reason, and nothing becomes visible meanwhile."""
    fleet = arena.fleet

    def is_told() -> bool:
        return any(end.at_s > since_s and words in end.reason for end in fleet.exits)

    has_stopped = fleet.wait_until(is_told, _MUST_STOP_S)
    if not has_stopped:
        fleet.findings.append(f"no consumer stopped with a message that says '{words}' within {_MUST_STOP_S:.0f} s")
    seen = sum(sent.visible_s is not None and sent.visible_s > since_s for sent in arena.journal.snapshot())
    if seen:
        fleet.findings.append(f"{seen} outcomes became visible where every consumer had to stop ('{words}')")
    return has_stopped and not seen


def _wait_until_all_are_ahead(arena: Arena, offsets: dict[int, int]) -> None:
    """Until the copy lacks rows of every partition, whatever was in flight when it was made.

    A consumer of partitions that lost nothing may go on: what it stores would be gone when the whole server comes back.
    """

    def are_ahead() -> bool:
        return all(offset > offsets[number] + _IN_FLIGHT_RECORDS for number, offset in _offsets(arena).items())

    if not arena.fleet.wait_until(are_ahead, 2 * _MUST_STOP_S):
        raise NotInjectedError("the consumers made too little progress before the failover")


def _copy(source: Path, target: Path) -> None:
    # Ownership and modes too: the server refuses other ones.
    subprocess.run(["cp", "-a", str(source), str(target)], check=True)  # noqa: S607


def storage_faults() -> list[Fault]:
    """All of them, in a fixed order."""
    return [
        Fault("PostgreSQL stopped", partial(_away, end=Postgres.stop)),
        Fault("PostgreSQL killed -9", partial(_away, end=Postgres.kill)),
        Fault("sessions terminated in mid-statement", _terminated),
        Fault("connections cut", _cut),
        Fault("connections half open", _half_open),
        Fault("table locked", _locked),
        Fault("serialization failures", partial(_raised, sqlstate="40001", share=0.2)),
        Fault("disk full (53100)", partial(_raised, sqlstate="53100", share=1.0)),
        Fault("read-only mode", _read_only),
        Fault("failover to an older copy, consumers stopped", partial(_failover, is_running=False), must_stop=True),
        Fault("failover to an older copy, consumers running", partial(_failover, is_running=True), must_stop=True),
        Fault("committed offsets reset", _offsets_reset, must_stop=True),
    ]
