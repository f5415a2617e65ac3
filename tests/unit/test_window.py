"""The window adapts, stays bounded, and keeps the order of its records."""

from hypothesis import given
from hypothesis import strategies as st

from consumer.records import SourceRecord
from consumer.window import WindowBuffer


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def record(offset: int, size_bytes: int = 1, partition: int = 0) -> SourceRecord:
    return SourceRecord(partition, offset, 0, None, b"x" * size_bytes, (), 1)


def never(_: SourceRecord) -> bool:
    return False


def buffer(clock: Clock, max_records: int = 3, max_bytes: int = 100) -> WindowBuffer:
    return WindowBuffer(max_records=max_records, max_bytes=max_bytes, max_wait_s=0.005, clock=clock)


def test_a_window_is_due_after_the_wait_of_its_oldest_record() -> None:
    clock = Clock()
    collected = buffer(clock)
    assert collected.due_in_s == float("inf")
    collected.add([record(0)])
    clock.now_s += 0.004
    collected.add([record(1)])
    assert 0 < collected.due_in_s < 0.0011
    clock.now_s += 0.001
    assert collected.due_in_s == 0


def test_a_full_window_is_due_at_once() -> None:
    collected = buffer(Clock())
    collected.add(record(offset) for offset in range(3))
    assert (collected.room_records, collected.due_in_s) == (0, 0)


def test_bytes_fill_a_window_too_and_a_large_record_goes_alone() -> None:
    collected = buffer(Clock())
    collected.add([record(0, 500), record(1, 60), record(2, 60)])
    assert collected.room_records == 0
    assert [[r.offset for r in collected.take(never)] for _ in range(3)] == [[0], [1], [2]]


def test_a_suspect_makes_a_window_by_itself() -> None:
    collected = buffer(Clock(), max_records=10)
    collected.add(record(offset) for offset in range(5))
    windows = [[r.offset for r in collected.take(lambda r: r.offset in {0, 3})] for _ in range(4)]
    assert windows == [[0], [1, 2], [3], [4]]


@given(
    sizes=st.lists(st.integers(0, 120), max_size=30),
    max_records=st.integers(1, 8),
    max_bytes=st.integers(1, 200),
    put_back_at=st.sets(st.integers(0, 40)),
)
def test_every_record_comes_out_once_and_in_order(
    sizes: list[int], max_records: int, max_bytes: int, put_back_at: set[int]
) -> None:
    collected = buffer(Clock(), max_records, max_bytes)
    collected.add(record(offset, size) for offset, size in enumerate(sizes))
    out: list[int] = []
    turn = 0
    while len(collected):
        window = collected.take(never)
        assert 1 <= len(window) <= max_records
        assert len(window) == 1 or sum(r.size_bytes for r in window) <= max_bytes
        if turn in put_back_at:
            collected.put_back(window)
        else:
            out += [r.offset for r in window]
        turn += 1
    assert out == list(range(len(sizes)))
    assert collected.room_records == max_records


def test_what_went_away_is_forgotten() -> None:
    collected = buffer(Clock(), max_records=10)
    collected.add([record(0, partition=1), record(0, partition=2), record(1, partition=1)])
    collected.drop([1])
    assert [(r.partition, r.offset) for r in collected.take(never)] == [(2, 0)]
