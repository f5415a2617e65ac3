"""What a soak calls flat."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.chaos.soak import _judge
from tests.chaos.vitals import MB, Sample


def _samples(
    rss_mb: Callable[[float], float] = lambda _minute: 250.0,
    open_files: Callable[[int], int] = lambda _at: 30,
    threads: Callable[[int], int] = lambda _at: 20,
) -> list[Sample]:
    return [
        Sample(at_s=at, rss_bytes=int(rss_mb(at / 60) * MB), open_files=open_files(at), threads=threads(at), waiting=0)
        for at in range(0, 1800, 5)
    ]


def test_steady_work_is_flat_though_probes_come_and_go() -> None:
    judged = _judge(_samples(open_files=lambda at: 30 + (at % 50 == 0), threads=lambda at: 20 + (at % 50 == 0)), 30)

    assert judged["ok"]


def test_growth_while_it_warms_up_does_not_count() -> None:
    assert _judge(_samples(rss_mb=lambda minute: 150 + min(minute, 5) * 20), 30)["ok"]


@pytest.mark.parametrize(
    "leak",
    [
        {"rss_mb": lambda minute: 250 + 1.2 * minute},
        {"open_files": lambda at: 30 + at // 600},
        {"threads": lambda at: 20 + at // 900},
    ],
    ids=["memory", "files", "threads"],
)
def test_a_leak_is_not_flat(leak: dict[str, Any]) -> None:
    assert not _judge(_samples(**leak), 30)["ok"]
