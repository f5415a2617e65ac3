"""Faults of the brokers and of the way to them."""

import random
import time
from collections.abc import Callable
from functools import partial
from typing import Final

from devstack.kafka import Kafka
from tests.chaos.brokers import BROKERS, Roles
from tests.chaos.faults import Arena, Fault
from tests.chaos.fleet import NotInjectedError
from tests.chaos.stage import GROUP

# Longer than brokers and clients need to notice; shorter than the outage that a consumer may sit out.
_DISTURBANCE_S: Final = 6.0

Choose = Callable[[Arena, Roles, random.Random], int | None]
"""Which broker; None for all of them."""


def _kafka(arena: Arena) -> Kafka:
    if arena.stage.stack is None:
        raise NotInjectedError("the brokers are not ours to break")
    return arena.stage.stack.kafka


def _away(arena: Arena, chooser: random.Random, *, choose: Choose, end: Callable[[Kafka, int | None], None]) -> None:
    kafka = _kafka(arena)
    with arena.servers:
        node_id = choose(arena, Roles(arena.stage), chooser)
        end(kafka, node_id)
        try:
            time.sleep(chooser.uniform(_DISTURBANCE_S / 2, _DISTURBANCE_S))
            # A publisher dies in the middle of it.
            arena.load.crash()
        finally:
            kafka.start(node_id)


def _anyone(_: Arena, __: Roles, chooser: random.Random) -> int:
    return chooser.randrange(BROKERS) + 1


def _everyone(_: Arena, __: Roles, ___: random.Random) -> None:
    return None


def _leader(arena: Arena, roles: Roles, chooser: random.Random) -> int:
    topic = chooser.choice((arena.stage.events, arena.stage.results, arena.stage.dead_letters))
    return roles.leader(topic, chooser.randrange(roles.partitions(topic)))


def _controller(_: Arena, roles: Roles, __: random.Random) -> int:
    return roles.controller()


def _group_coordinator(_: Arena, roles: Roles, __: random.Random) -> int:
    return roles.group_coordinator()


def _transaction_coordinator(arena: Arena, roles: Roles, chooser: random.Random) -> int:
    return roles.transaction_coordinator(f"{GROUP}-{arena.victim(chooser).slot}")


def _slow(arena: Arena, chooser: random.Random) -> None:
    for proxy in arena.stage.proxies:
        proxy.latency_s = chooser.uniform(0.1, 0.5)
    try:
        time.sleep(_DISTURBANCE_S)
    finally:
        for proxy in arena.stage.proxies:
            proxy.latency_s = 0.0


def _cut(arena: Arena, chooser: random.Random) -> None:
    for _turn in range(8):
        for proxy in arena.stage.proxies:
            proxy.cut()
        time.sleep(chooser.uniform(0.05, 0.8))


def _half_open(arena: Arena, chooser: random.Random, *, count: int) -> None:
    proxies = chooser.sample(arena.stage.proxies, count)
    for proxy in proxies:
        proxy.is_half_open = True
    try:
        # Past the session: the group gives the silent members' partitions away.
        time.sleep(2 * _DISTURBANCE_S)
    finally:
        for proxy in proxies:
            proxy.heal()


def broker_faults() -> list[Fault]:
    """All of them, in a fixed order."""
    roles: tuple[tuple[str, Choose], ...] = (
        ("a partition's leader", _leader),
        ("the controller", _controller),
        ("the group's coordinator", _group_coordinator),
        ("a transaction coordinator", _transaction_coordinator),
    )
    return [
        Fault("one broker stopped", partial(_away, choose=_anyone, end=Kafka.stop)),
        Fault("all brokers stopped", partial(_away, choose=_everyone, end=Kafka.stop)),
        Fault("all brokers killed -9", partial(_away, choose=_everyone, end=Kafka.kill)),
        *(Fault(f"{name} killed -9", partial(_away, choose=choose, end=Kafka.kill)) for name, choose in roles),
        Fault("latency", _slow),
        Fault("connections cut", _cut),
        Fault("connections to one broker half open", partial(_half_open, count=1)),
        Fault("connections to all brokers half open", partial(_half_open, count=BROKERS)),
    ]
