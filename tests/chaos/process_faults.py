"""Faults of the consumer processes themselves."""

import random
import shutil
import signal
import time
from functools import partial
from typing import Final

from tests.chaos.faults import Arena, Fault
from tests.chaos.fleet import Replica, last_reason
from tests.chaos.orders import CHECKPOINT_STEPS, Action, Order, Step
from tests.chaos.stage import MAX_POLL_INTERVAL_MS, REVOKE_BUDGET_S, SESSION_TIMEOUT_MS

# Past the session and the poll interval: whoever wakes after it has been given up by the group.
FROZEN_S: Final = max(SESSION_TIMEOUT_MS, MAX_POLL_INTERVAL_MS) / 1000 + 2.5
# Longer than a revoke may take, shorter than the deadline for the fleet's end.
_SLOW_INFERENCE_S: Final = REVOKE_BUDGET_S + 3
_READY_S: Final = 30.0
_CLOCK_JUMPS_S: Final = (-86_400.0, -1.5, 3_600.0, 400 * 86_400.0)
_MEANINGS: Final[dict[Step, str]] = {
    "polled": "after poll",
    "classified": "after classify",
    "inserted": "between INSERT and COMMIT",
    "rows": "after the rows",
    "produced": "in the transaction before the offsets",
    "offsets": "in the transaction after the offsets",
    "committed": "after commit",
}


def _signal_at_random(arena: Arena, chooser: random.Random, *, number: signal.Signals) -> None:
    time.sleep(chooser.uniform(0.0, 1.0))
    victim = arena.victim(chooser)
    starts = victim.starts
    victim.send(number)
    _await_successor(arena, victim, starts)


def _at(arena: Arena, chooser: random.Random, *, step: Step, action: Action) -> None:
    victim = arena.victim(chooser)
    starts = victim.starts
    victim.order(Order(step, action))
    _await_successor(arena, victim, starts)


def _await_successor(arena: Arena, victim: Replica, starts: int) -> None:
    # One that drains still says that it is ready.
    arena.fleet.wait_until(lambda: victim.starts > starts, _READY_S)


def _freeze(arena: Arena, chooser: random.Random, *, step: Step | None) -> None:
    victim = arena.victim(chooser)
    if step is None:
        victim.send(signal.SIGSTOP)
    else:
        victim.order(Order(step, "freeze"))
    time.sleep(FROZEN_S)
    victim.send(signal.SIGCONT)


def _block(arena: Arena, chooser: random.Random, *, step: Step) -> None:
    # The client's own threads go on, and leave the group in the name of the one that does not poll.
    arena.victim(chooser).order(Order(step, "block", FROZEN_S))
    time.sleep(FROZEN_S)


def _twin(arena: Arena, chooser: random.Random) -> None:
    arena.fleet.add_twin(arena.victim(chooser))


def _rebalance(arena: Arena, chooser: random.Random) -> None:
    arena.fleet.scale(1)
    time.sleep(chooser.uniform(0.0, 1.0))
    arena.fleet.scale(3)
    arena.fleet.wait_until(arena.fleet.all_ready, _READY_S)
    time.sleep(chooser.uniform(1.0, 2.0))
    arena.fleet.scale(1)
    time.sleep(chooser.uniform(0.0, 1.0))
    arena.fleet.scale(arena.replicas)


def _rebalance_while_computing(arena: Arena, chooser: random.Random) -> None:
    """Partitions move on while a window of theirs computes for longer than a revoke may take."""
    arena.fleet.scale(1)
    arena.victim(chooser).order(Order("inference", "block", _SLOW_INFERENCE_S))
    arena.fleet.scale(3)
    arena.fleet.wait_until(arena.fleet.all_ready, _READY_S)
    time.sleep(_SLOW_INFERENCE_S)
    arena.fleet.scale(arena.replicas)


def _lost_while_computing(arena: Arena, chooser: random.Random, *, rest_s: float) -> None:
    """The group gives the partitions of a silent member away, which wakes while a window of theirs still computes."""
    victim = arena.victim(chooser)
    victim.order(Order("inference", "block", FROZEN_S + rest_s))
    victim.order(Order("polled", "block", FROZEN_S))
    time.sleep(FROZEN_S + rest_s)


def _clock_jump(arena: Arena, chooser: random.Random) -> None:
    arena.victim(chooser).order(Order("polled", "clock", chooser.choice(_CLOCK_JUMPS_S)))


def _inference_raises(arena: Arena, chooser: random.Random) -> None:
    arena.victim(chooser).order(Order("inference", "raise"))
    arena.load.send_trap("poison", "RuntimeError")
    arena.load.send_trap("nan", "NonFiniteScores")


def _inference_hangs(arena: Arena, _: random.Random) -> None:
    arena.load.send_trap("hang", "InferenceTimeout")


def _inference_never_returns(arena: Arena, _: random.Random) -> None:
    arena.load.send_trap("stuck", "repeated_crash")


def _inference_crashes(arena: Arena, _: random.Random) -> None:
    arena.load.send_trap("crash at once", "repeated_crash")


def _bundle_replaced(arena: Arena, chooser: random.Random) -> None:
    """Another model is written over the files that a process has open; half of the fleet restarts with it."""
    stage = arena.stage
    with arena.bundle:
        current = (stage.bundle / "manifest.json").read_bytes()
        spare = stage.work / "spare-bundle"
        shutil.copytree(stage.bundle, spare, dirs_exist_ok=True)
        replacement = stage.other_bundle
        for file in sorted(replacement.iterdir()):
            shutil.copyfile(file, stage.bundle / file.name)
        if current != (stage.bundle / "manifest.json").read_bytes():
            for file in sorted(spare.iterdir()):
                shutil.copyfile(file, replacement / file.name)
    _signal_at_random(arena, chooser, number=signal.SIGKILL)


def _bundle_damaged(arena: Arena, chooser: random.Random) -> None:
    """A file changes under a running consumer; what starts meanwhile must refuse it and name it."""
    with arena.bundle:
        model = arena.stage.bundle / "model.onnx"
        intact = model.read_bytes()
        victim = arena.victim(chooser)
        model.write_bytes(intact[:-1] + bytes([intact[-1] ^ 0xFF]))
        try:
            starts = victim.starts
            victim.send(signal.SIGKILL)
            refused = arena.fleet.wait_until(
                lambda: victim.starts > starts and "model.onnx" in last_reason(victim.log), _READY_S
            )
        finally:
            model.write_bytes(intact)
    if not refused:
        arena.fleet.findings.append("a consumer started with a damaged bundle, or did not say what is wrong with it")


def process_faults() -> list[Fault]:
    """All of them, in a fixed order."""
    kills: tuple[tuple[str, Action], ...] = (("kill -9", "kill"), ("SIGTERM", "terminate"))
    return [
        Fault("kill -9 at random", partial(_signal_at_random, number=signal.SIGKILL)),
        Fault("SIGTERM at random", partial(_signal_at_random, number=signal.SIGTERM)),
        *(
            Fault(f"{name} {_MEANINGS[step]}", partial(_at, step=step, action=action))
            for name, action in kills
            for step in CHECKPOINT_STEPS
        ),
        Fault("frozen and woken as a zombie", partial(_freeze, step=None)),
        Fault("frozen between INSERT and COMMIT", partial(_freeze, step="inserted")),
        Fault("frozen in the transaction", partial(_freeze, step="offsets")),
        Fault("polls too late: blocked after the rows", partial(_block, step="rows")),
        Fault("polls too late: blocked in the transaction", partial(_block, step="produced")),
        Fault("partitions lost, their window ready soon", partial(_lost_while_computing, rest_s=REVOKE_BUDGET_S / 2)),
        Fault("partitions lost, their window ready late", partial(_lost_while_computing, rest_s=_SLOW_INFERENCE_S)),
        Fault("two processes with one replica id", _twin),
        Fault("rebalance 1 to 3 to 1", _rebalance),
        Fault("rebalance while a window computes", _rebalance_while_computing),
        Fault("wall clock jumps", _clock_jump),
        Fault("inference raises", _inference_raises),
        Fault("inference hangs", _inference_hangs),
        Fault("inference never returns", _inference_never_returns),
        Fault("inference crashes the process", _inference_crashes),
        Fault("bundle replaced under a running consumer", _bundle_replaced),
        Fault("bundle damaged under a running consumer", _bundle_damaged),
    ]
