"""What a fault is, and what it works with."""

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.chaos.fleet import Fleet, NotInjectedError, Replica
from tests.chaos.journal import Journal
from tests.chaos.load import Load
from tests.chaos.stage import Stage


@dataclass(frozen=True)
class Arena:
    """Everything a fault can reach.

    Attributes:
        replicas: how many consumers run while nothing disturbs them.
        servers: held while one fault stops and starts servers: two at once would start them twice.
        bundle: held while one fault changes the bundle's files: two at once would put back what the other one left.
    """

    stage: Stage
    fleet: Fleet
    load: Load
    journal: Journal
    replicas: int
    servers: threading.Lock = field(default_factory=threading.Lock)
    bundle: threading.Lock = field(default_factory=threading.Lock)

    def heal(self) -> None:
        """End whatever a fault may have left, and let as many consumers run as before."""
        for proxy in self.stage.proxies:
            proxy.heal()
        self.fleet.heal()
        self.fleet.scale(self.replicas)

    def victim(self, chooser: random.Random) -> Replica:
        """One of the running consumers.

        Raises:
            NotInjectedError: none runs.
        """
        running = self.fleet.running
        if not running:
            raise NotInjectedError("no consumer runs")
        return chooser.choice(running)


Inject = Callable[[Arena, random.Random], None]
"""Brings the disturbance about and returns when it is over, so that what follows is recovery."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A kind of disturbance. One that `must_stop` the consumers is judged by itself, apart from the load."""

    name: str
    inject: Inject
    must_stop: bool = False
