"""Gates and measurements of an export, on figures that are known beforehand."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="export needs the extra 'export'")

from consumer.inference.manifest import HeadSpec
from model_export import speed
from model_export.calibration import calibrate
from model_export.clean_run import CleanRun
from model_export.gates import calibrated, runs_alone
from model_export.hardware import has_vnni
from model_export.metrics import softmax

RANDOM = np.random.default_rng(11)
LOGITS = RANDOM.normal(scale=2, size=(1500, 3)).astype(np.float32)
COLUMNS = {"label": np.array([RANDOM.choice(3, p=row) for row in softmax(LOGITS)])}
FP32 = {"label": LOGITS}


def test_scores_that_mean_what_they_say_pass() -> None:
    shipped = {"label": LOGITS + RANDOM.normal(scale=0.02, size=LOGITS.shape).astype(np.float32)}
    gates = calibrated(FP32, shipped, calibrate(shipped, COLUMNS), COLUMNS)
    assert [gate.name for gate in gates] == ["label_calibration_error", "label_calibration_loss"]
    assert all(gate.passed for gate in gates)


def test_scores_that_no_temperature_mends_fail() -> None:
    """One half is far too sure and the other far too unsure; labels and accuracy are those of fp32."""
    shipped = {"label": np.concatenate([LOGITS[:750] * 6, LOGITS[750:] / 6])}
    gates = calibrated(FP32, shipped, calibrate(shipped, COLUMNS), COLUMNS)
    assert not any(gate.passed for gate in gates)


def test_a_temperature_of_another_graph_fails() -> None:
    heads = {"label": HeadSpec(output="label_logits", temperature=0.3)}
    error, _ = calibrated(FP32, FP32, heads, COLUMNS)
    assert not error.passed
    assert error.figure > 0.1


def test_memory_is_judged_by_the_size_of_the_graph() -> None:
    run = CleanRun(probe_deviation=0.01, peak_rss_bytes=400_000_000)
    assert [gate.passed for gate in runs_alone(run, 0.05, graph_bytes=25_000_000)] == [True, False]
    assert [gate.passed for gate in runs_alone(run, 0.005, graph_bytes=260_000_000)] == [False, True]


def test_what_slows_the_machine_for_a_while_slows_both(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 0.0
    slowness = iter([1, 1, *(factor for factor in (1, 40, 1, 60, 2, 1) for _ in range(2))])

    def work(seconds: float) -> None:
        nonlocal now_s
        now_s += seconds * next(slowness)

    monkeypatch.setattr("model_export.speed.time.perf_counter", lambda: now_s)
    ratio = speed.compare_speed(lambda: work(0.004), lambda: work(0.002), texts=4, repeats=6)
    assert (ratio.low, ratio.median, ratio.high) == pytest.approx((2, 2, 2))
    assert ratio.second_texts_per_s == pytest.approx(4 / (0.002 * 1.5), abs=0.1)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ("processor : 0\nflags\t\t: fpu avx512f avx512_vnni\n", True),
        ("flags : fpu avx2\nflags : fpu avx2\n", False),
        ("Features\t: fp asimd asimddp\n", True),
        ("nothing\n", None),
    ],
)
def test_the_cpu_is_recorded(content: str, found: bool | None, tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text(content)
    assert has_vnni(tmp_path / "cpuinfo") is found
    assert has_vnni(tmp_path / "gone") is None
