"""Which faults come in which order: the seed alone decides."""

import random
from collections.abc import Collection, Iterator, Sequence
from typing import Final

COMBINED: Final = 3


def schedule(names: Sequence[str], seed: int, always_alone: Collection[str] = ()) -> Iterator[tuple[str, ...]]:
    """Waves of faults, without an end: each fault alone first, then several at once, round after round.

    A round holds every fault once, so that after n rounds each was injected n times. Those that must be judged by
    themselves make waves of their own in every round.
    """
    chooser = random.Random(f"schedule-{seed}")
    for name in chooser.sample(names, len(names)):
        yield (name,)
    combinable = [name for name in names if name not in always_alone]
    while True:
        order = chooser.sample(combinable, len(combinable))
        waves = [tuple(order[start : start + COMBINED]) for start in range(0, len(order), COMBINED)]
        waves += [(name,) for name in names if name in always_alone]
        yield from chooser.sample(waves, len(waves))
