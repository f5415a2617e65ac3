from hypothesis import given
from hypothesis import strategies as st

from consumer.inference.batching import plan_batches

lengths = st.lists(st.integers(1, 600), max_size=150)


@given(lengths, st.integers(1, 2048), st.integers(1, 8))
def test_every_text_is_in_exactly_one_batch_and_budgets_hold(lengths: list[int], budget: int, workers: int) -> None:
    batches = plan_batches(lengths, max_batch_tokens=budget, workers=workers)

    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or max(lengths[index] for index in batch) * len(batch) <= budget


@given(lengths, st.integers(1, 2048))
def test_padding_is_bounded_and_the_longest_texts_come_first(lengths: list[int], budget: int) -> None:
    batches = plan_batches(lengths, max_batch_tokens=budget, workers=1)

    longest = [max(lengths[index] for index in batch) for batch in batches]
    assert longest == sorted(longest, reverse=True)
    for size, batch in zip(longest, batches, strict=True):
        assert sum(size - lengths[index] for index in batch) <= 8


def test_like_texts_share_a_batch_up_to_the_budget() -> None:
    assert [len(batch) for batch in plan_batches([32] * 20, max_batch_tokens=256, workers=1)] == [8, 8, 4]


def test_a_small_window_keeps_every_worker_busy() -> None:
    assert [len(batch) for batch in plan_batches([20] * 8, max_batch_tokens=4096, workers=4)] == [2, 2, 2, 2]


def test_a_text_longer_than_the_budget_gets_a_batch_of_its_own() -> None:
    assert plan_batches([10, 500, 10], max_batch_tokens=64, workers=1) == [[1], [0, 2]]
