"""The parts of the harness that a run rests on: schedule, stalls, orders."""

import socket
import socketserver
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from uuid import UUID

import pytest

from demo.records import Coordinates, Expectation
from tests.chaos.journal import Journal, Sent
from tests.chaos.orders import Order, Orders
from tests.chaos.proxy import Proxy
from tests.chaos.schedule import COMBINED, schedule
from tests.chaos.stalls import longest_s, stalls

NAMES = [f"fault {number}" for number in range(8)]


def test_the_seed_alone_decides_and_each_fault_comes_once_a_round() -> None:
    waves = list(islice(schedule(NAMES, 1), 8 + 2 * 3))
    assert waves == list(islice(schedule(NAMES, 1), 8 + 2 * 3))
    assert waves != list(islice(schedule(NAMES, 2), 8 + 2 * 3))
    assert sorted(name for [name] in waves[:8]) == NAMES
    for start in (8, 11):
        assert sorted(name for wave in waves[start : start + 3] for name in wave) == NAMES
        assert max(len(wave) for wave in waves[start : start + 3]) == COMBINED


def test_what_must_be_judged_by_itself_never_comes_together_with_another() -> None:
    waves = list(islice(schedule(NAMES, 1, {"fault 0", "fault 5"}), 8 + 2 * 4))
    assert sum(wave == ("fault 0",) for wave in waves) == 3
    assert sum("fault 5" in wave for wave in waves) == 3
    assert max(map(len, waves)) == COMBINED


def record(sequence: int, partition: int, acknowledged_s: float, visible_s: float | None) -> Sent:
    return Sent(
        sequence=sequence,
        kind="event",
        key=None,
        value=None,
        headers=(),
        expectation=Expectation(endings=frozenset()),
        sent_s=acknowledged_s,
        must_come_out=True,
        publication="acknowledged",
        coordinates=Coordinates(partition, sequence),
        acknowledged_s=acknowledged_s,
        visible_s=visible_s,
    )


def test_a_stall_is_the_time_in_which_something_waited_and_nothing_came() -> None:
    found = stalls(
        [
            record(1, 0, 10.0, 10.1),
            # Nothing waited until 20.0: that is no stall.
            record(2, 0, 20.0, 23.0),
            record(3, 0, 21.0, 23.5),
            # Another partition goes on meanwhile.
            record(4, 1, 20.0, 20.2),
            record(5, 1, 22.0, 22.2),
            record(6, 0, 24.0, None),
        ]
    )
    assert longest_s(found, 0.0, 100.0) == pytest.approx(3.0)
    assert longest_s(found, 0.0, 20.0) == pytest.approx(0.1)
    assert longest_s([stall for stall in found if stall.partition == 1], 0.0, 100.0) == pytest.approx(0.2)


def test_an_event_has_its_outcome_when_a_copy_of_it_is_visible() -> None:
    journal = Journal()
    expectation = Expectation(endings=frozenset(), event_id=UUID(int=1))
    for sequence, kind in ((1, "event"), (2, "repeated id")):
        sent = record(sequence, 0, 0.0, None)
        sent.kind, sent.must_come_out, sent.expectation = kind, kind == "event", expectation
        journal.add(sent)
        journal.acknowledged(sequence, Coordinates(0, sequence))
    assert journal.count_waiting(float("inf")) == 1
    journal.visible(2)
    assert journal.count_waiting(float("inf")) == 0


def test_an_order_is_obeyed_once_and_at_its_step_only(tmp_path: Path) -> None:
    orders = Orders(tmp_path / "orders.json")
    order = Order("rows", "block", 2.5)
    assert orders.take("rows") is None
    orders.give(order)
    assert not orders.is_taken()
    assert orders.take("polled") is None
    assert orders.take("rows") == order
    assert orders.is_taken()
    assert orders.take("rows") is None
    orders.give(order)
    assert orders.withdraw()
    assert not orders.withdraw()
    assert orders.take("rows") is None


@pytest.fixture
def echo() -> Iterator[int]:
    """The port of a server that sends back what it gets."""

    class Echo(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with suppress(OSError):
                while data := self.request.recv(1024):
                    self.request.sendall(data)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Echo) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def exchange(connection: socket.socket, timeout_s: float = 5.0) -> bytes:
    connection.settimeout(timeout_s)
    connection.sendall(b"ping")
    return connection.recv(16)


def test_the_proxy_forwards_delays_hangs_and_cuts(echo: int) -> None:
    with Proxy(echo) as proxy:
        with socket.create_connection(("127.0.0.1", proxy.port)) as connection:
            assert exchange(connection) == b"ping"
            proxy.latency_s = 0.2
            began_s = time.monotonic()
            assert exchange(connection) == b"ping"
            # There and back.
            assert time.monotonic() - began_s >= 0.4
            proxy.is_half_open = True
            with pytest.raises(TimeoutError):
                exchange(connection, 0.5)
            proxy.heal()
            with pytest.raises(ConnectionError):
                exchange_until_it_fails(connection)
        with socket.create_connection(("127.0.0.1", proxy.port)) as connection:
            assert exchange(connection) == b"ping"
            proxy.cut()
            with pytest.raises(ConnectionError):
                exchange_until_it_fails(connection)


def exchange_until_it_fails(connection: socket.socket) -> None:
    for _ in range(50):
        if not exchange(connection):
            raise ConnectionResetError
