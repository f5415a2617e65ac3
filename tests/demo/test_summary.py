"""What people and programs are told at the end."""

import io
import json
import math
from dataclasses import replace

from rich.console import Console

from demo.audit import audit
from demo.scenario import Figures, Outcome, percentile
from demo.summary import as_json, print_summary
from tests.demo.fabricated import kept_promise

FIGURES = Figures(burst_s=4.0, events_per_s=300.04, steady_rate_per_s=150.0, latency_p50_ms=40.0, latency_p99_ms=95.0)


def kept() -> Outcome:
    published, observation = kept_promise()
    return Outcome(report=audit(published, observation), figures=FIGURES, hostile_kinds=26, results=observation.results)


def broken() -> Outcome:
    published, observation = kept_promise()
    lost = replace(observation, results=observation.results[:1])
    return replace(kept(), report=audit(published, lost), results=lost.results)


def printed(outcome: Outcome) -> str:
    console = Console(file=io.StringIO(), width=120)
    print_summary(console, outcome, 42.0)
    return str(console.file.getvalue())  # type: ignore[attr-defined]


def test_percentiles_are_values_that_were_measured() -> None:
    values = [float(value) for value in range(1, 201)]
    assert (percentile(values, 0.5), percentile(values, 0.99), percentile([7.0], 0.99)) == (100.0, 198.0, 7.0)
    assert math.isnan(percentile([], 0.5))


def test_the_json_summary_names_every_label_and_leaves_unmeasured_figures_null() -> None:
    outcome = replace(kept(), figures=replace(FIGURES, latency_p50_ms=math.nan))
    summary = json.loads(json.dumps(as_json(outcome, 42.0), allow_nan=False))
    assert (summary["ok"], summary["published"], summary["lost"], summary["events_per_s"]) == (True, 5, 0, 300.0)
    assert summary["latency_p50_ms"] is None
    assert summary["by_category"]["praise"] == 1
    assert summary["by_category"]["usage_tip"] == 0


def test_people_see_counts_figures_and_what_to_try_next() -> None:
    text = printed(kept())
    assert "Every promise kept" in text
    assert "300 events/s" in text
    assert "p99 95 ms" in text
    assert "make up" in text
    # Each table counts for itself.
    assert text.count("published") == 1


def test_people_see_which_promise_was_broken_and_where() -> None:
    text = printed(broken())
    assert "Promises were broken" in text
    assert "lost: 0@1" in text
    assert "Every promise kept" not in text
