"""The profiles: which faults, on which stage, with which consumer."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Final

from tests.chaos.broker_faults import broker_faults
from tests.chaos.brokers import broker_stage
from tests.chaos.faults import Fault
from tests.chaos.process_faults import process_faults
from tests.chaos.stage import Stage, private_stage
from tests.chaos.storage_faults import storage_faults, storage_stage


@dataclass(frozen=True, slots=True)
class Profile:
    """`command` is the module that runs a consumer, with its arguments."""

    faults: Callable[[], list[Fault]]
    stage: Callable[[str], AbstractContextManager[Stage]]
    command: tuple[str, ...]


PROFILES: Final = {
    "process": Profile(process_faults, private_stage, ("tests.chaos.consumer",)),
    "broker": Profile(broker_faults, broker_stage, ("consumer", "run")),
    "storage": Profile(storage_faults, storage_stage, ("consumer", "run")),
}
