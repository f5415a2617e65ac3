"""One run: load, faults by the schedule, healing, and the audit of everything that stands."""

import random
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final

from confluent_kafka import KafkaException
from sqlalchemy import Engine, func, select
from sqlalchemy.exc import SQLAlchemyError

from demo.observe import observe, read_to_end
from devstack.errors import DevstackError
from schemas.tables import record_outcomes
from schemas.topics import EVENTS, load_topics
from tests.chaos.faults import Arena, Fault
from tests.chaos.fleet import Exit, Fleet, NotInjectedError
from tests.chaos.journal import Journal, Sent
from tests.chaos.load import Load
from tests.chaos.oracle import Verdict, judge
from tests.chaos.schedule import schedule
from tests.chaos.stage import Stage
from tests.chaos.stalls import Stall, longest_s, stalls
from tests.chaos.watch import Watch

RATE_PER_S: Final = 60.0
REPLICAS: Final = 2
COMBINED: Final = "several at once"
_LEAD_S: Final = 0.5
_READY_S: Final = 60.0
_STAGGER_S: Final = 3.0
_POLL_S: Final = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a run does.

    Attributes:
        minutes: how long faults are injected; start, healing and audit come on top.
        recovery_s: how long an event may wait for its outcome after a fault is over.
        settle_s: how long the rest may take when all is healed.
        command: the module that runs a consumer, and its arguments.
    """

    faults: Sequence[Fault]
    seed: int
    minutes: float
    rate_per_s: float = RATE_PER_S
    replicas: int = REPLICAS
    # Past the silence after which a consumer calls itself dead.
    recovery_s: float = 150.0
    settle_s: float = 150.0
    command: tuple[str, ...] = ("tests.chaos.consumer",)
    variables: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Wave:
    """Faults that were injected together, and the time from just before them until their effects were over."""

    faults: tuple[str, ...]
    injected: list[str]
    missed: dict[str, str]
    began_s: float
    ended_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """All that a report is made of."""

    plan: Plan
    verdict: Verdict
    waves: list[Wave]
    sent: list[Sent]
    stalls: list[Stall]
    exits: list[Exit]
    restarts: int
    findings: list[str]
    replaced_readers: int
    seconds: float

    @property
    def ok(self) -> bool:
        """Whether every promise was kept and no consumer did what a healthy one does not."""
        return not self.verdict.violations and not self.findings


def run(stage: Stage, plan: Plan, tell: Callable[[str], None] = lambda _: None) -> Outcome:
    """Run a plan on a stage that nobody used before."""
    started_s = time.monotonic()
    journal = Journal()
    load = make_load(stage, journal, rate_per_s=plan.rate_per_s, seed=plan.seed)
    fleet = Fleet({**stage.variables, **plan.variables}, plan.command, stage.work)
    with fleet, Watch(stage.librdkafka, stage.results, stage.dead_letters, journal) as watch:
        fleet.scale(plan.replicas)
        if not fleet.wait_until(fleet.all_ready, _READY_S):
            fleet.findings.append("the consumers did not become ready")
        arena = Arena(stage, fleet, load, journal, plan.replicas)
        with load:
            waves = _inject(arena, plan, tell)
        tell("healed; waiting until everything is consumed")
        settle(stage, fleet, journal, plan.settle_s)
        tell("stopping the consumers")
        fleet.stop()
        sent = journal.snapshot()
    tell("reading topics and tables")
    return Outcome(
        plan=plan,
        verdict=audit(stage, sent),
        waves=waves,
        sent=sent,
        stalls=stalls(sent),
        exits=fleet.exits,
        restarts=fleet.restarts.total(),
        findings=fleet.findings,
        replaced_readers=watch.replaced_readers,
        seconds=time.monotonic() - started_s,
    )


def make_load(stage: Stage, journal: Journal, *, rate_per_s: float, seed: int, first_sequence: int = 1) -> Load:
    """The load of a run, for the events topic as the project makes it."""
    spec = load_topics()[EVENTS]
    return Load(
        stage.librdkafka,
        stage.events,
        journal,
        rate_per_s=rate_per_s,
        seed=seed,
        partitions=spec.partitions,
        max_message_bytes=int(spec.config["max.message.bytes"]),
        first_sequence=first_sequence,
    )


def audit(stage: Stage, sent: Sequence[Sent]) -> Verdict:
    """Read topics and tables, which nobody may change meanwhile, and judge them."""
    events = read_to_end(stage.librdkafka, stage.events)
    database = stage.engine()
    observation = observe(
        stage.librdkafka,
        database,
        events_topic=stage.events,
        results_topic=stage.results,
        dead_letter_topic=stage.dead_letters,
    )
    database.dispose()
    return judge(sent, events, observation)


def _inject(arena: Arena, plan: Plan, tell: Callable[[str], None]) -> list[Wave]:
    waves: list[Wave] = []
    by_name = {fault.name: fault for fault in plan.faults}
    end_s = time.monotonic() + plan.minutes * 60
    must_stop = {fault.name for fault in plan.faults if fault.must_stop}
    for number, names in enumerate(schedule(list(by_name), plan.seed, must_stop)):
        if time.monotonic() >= end_s:
            break
        wave = Wave(names, [], {}, time.monotonic())
        # Events of this wave are in flight when the fault strikes.
        time.sleep(_LEAD_S)
        with ThreadPoolExecutor(len(names)) as together:
            for place, name in enumerate(names):
                chooser = random.Random(f"fault-{plan.seed}-{number}-{place}")
                together.submit(_inject_one, arena, by_name[name], chooser, wave, place)
        struck_s = time.monotonic()
        arena.heal()
        is_over = _recover(arena, plan.recovery_s)
        wave.ended_s = time.monotonic()
        waves.append(wave)
        told = ", ".join(wave.injected + [f"{name} (missed: {why})" for name, why in wave.missed.items()])
        tell(f"{told}: recovered {wave.ended_s - struck_s:.1f} s after its end")
        if not is_over:
            waiting = arena.journal.describe_waiting(struck_s)
            unready = sum(not replica.is_ready() for replica in arena.fleet.replicas[: arena.replicas])
            arena.fleet.findings.append(
                f"{plan.recovery_s:.0f} s after {' and '.join(names)}: events without an outcome: {waiting}; "
                f"consumers not ready: {unready}"
            )
            arena.journal.give_up_waiting()
    return waves


def _inject_one(arena: Arena, fault: Fault, chooser: random.Random, wave: Wave, place: int) -> None:
    if place:
        time.sleep(chooser.uniform(0.0, _STAGGER_S))
    try:
        fault.inject(arena, chooser)
    except (NotInjectedError, SQLAlchemyError, KafkaException, DevstackError) as why:
        # Another fault of the same wave keeps it from the server that it needs, or from the consumer.
        wave.missed[fault.name] = str(why).splitlines()[0]
    except Exception as error:  # noqa: BLE001 (in a thread: it would be told to nobody)
        wave.missed[fault.name] = repr(error)
        arena.fleet.findings.append(f"the harness could not inject {fault.name}: {error!r}")
    else:
        wave.injected.append(fault.name)


def _recover(arena: Arena, budget_s: float) -> bool:
    """Wait until the fleet is whole and everything that Kafka acknowledged until now has its outcome."""
    deadline_s = time.monotonic() + budget_s
    whole = arena.fleet.wait_until(arena.fleet.all_ready, budget_s)
    acknowledged_before_s = time.monotonic()
    while arena.journal.count_waiting(acknowledged_before_s):
        if time.monotonic() > deadline_s:
            return False
        time.sleep(_POLL_S)
    return whole


def settle(stage: Stage, fleet: Fleet, journal: Journal, budget_s: float) -> bool:
    """Wait until the ledger has an entry for each record of the topic, and readers see what it stands for."""
    count = len(read_to_end(stage.librdkafka, stage.events))
    database = stage.engine()
    deadline_s = time.monotonic() + budget_s
    try:
        while True:
            waiting, recorded = journal.count_waiting(time.monotonic()), _recorded(database)
            if not waiting and recorded >= count:
                return True
            if time.monotonic() > deadline_s:
                fleet.findings.append(
                    f"after {budget_s:.0f} s without a fault the ledger holds {recorded} of {count} records, and "
                    f"{waiting} events have no visible outcome"
                )
                return False
            time.sleep(_POLL_S * 10)
    finally:
        database.dispose()


def _recorded(database: Engine) -> int:
    try:
        with database.connect() as connection:
            return connection.scalar(select(func.count()).select_from(record_outcomes)) or 0
    except SQLAlchemyError:
        return 0


def longest_stall_s(outcome: Outcome, wave: Wave) -> float:
    """The longest wait of readers during a wave."""
    return longest_s(outcome.stalls, wave.began_s, wave.ended_s)
