"""`python -m tests.chaos.soak`: hours of steady work, compressed into half of one, must not leave a trace in memory."""

import json
import statistics
import sys
import time
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.progress import Progress

from devstack.errors import DevstackError
from tests.chaos.fleet import Fleet
from tests.chaos.journal import Journal
from tests.chaos.run import audit, make_load, settle
from tests.chaos.stage import private_stage
from tests.chaos.vitals import MB, Sample, Vitals, slope_mb_per_min
from tests.chaos.watch import Watch

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
errors = Console(stderr=True)

MAX_SLOPE_MB_PER_MIN: Final = 1.0
_EVERY_S: Final = 5.0
_WARM_UP_SHARE: Final = 0.2
_READY_S: Final = 60.0
_SETTLE_S: Final = 120.0
# With the model that ships; the window and deadlines as a user has them.
_AS_SHIPPED: Final = {"CONSUMER_BUNDLE_URL": "models/default", "CONSUMER_INFERENCE_DEADLINE_S": "30"}


@app.command()
def main(
    minutes: Annotated[float, typer.Option(help="How long.", min=0.5)] = 30,
    rate: Annotated[float, typer.Option(help="Events a second; below what the machine can do.", min=1)] = 40,
    seed: Annotated[int, typer.Option(help="Decides texts and lengths.")] = 1,
    series: Annotated[Path, typer.Option(help="CSV file that the samples are written to as they come.")] = Path(
        ".devstack/soak.csv"
    ),
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the report as JSON to this file.")] = None,
) -> None:
    """Let one consumer work on texts of varied lengths, and watch its memory, files and threads.

    The first fifth of the time is warm-up and does not count. Exit status: 0 when memory grew by less than 1 MB a
    minute, files and threads stayed, and nothing was lost; 1 when not; 2 when the run could not take place.
    """
    try:
        report = _soak(minutes, rate, seed, series)
    except DevstackError as error:
        errors.print(str(error), style="red", markup=False)
        sys.exit(2)
    Console().print_json(data=report)
    if json_file is not None:
        json_file.write_text(json.dumps(report, indent=1) + "\n", "utf-8")
    raise typer.Exit(0 if report["ok"] else 1)


def _soak(minutes: float, rate: float, seed: int, series: Path) -> dict[str, Any]:
    journal = Journal()
    with private_stage("chaos-soak", variables=_AS_SHIPPED) as stage:
        fleet = Fleet(stage.variables, ("consumer", "run"), stage.work)
        with fleet, Watch(stage.librdkafka, stage.results, stage.dead_letters, journal):
            fleet.scale(1)
            if not fleet.wait_until(fleet.all_ready, _READY_S):
                raise DevstackError("the consumer did not become ready")
            [pid] = fleet.pids
            load = make_load(stage, journal, rate_per_s=rate, seed=seed)
            vitals = Vitals(pid, series, every_s=_EVERY_S, waiting=lambda: journal.count_waiting(time.monotonic()))
            with vitals, Progress(console=errors, transient=True) as bar, load:
                task = bar.add_task("soaking", total=minutes * 60)
                for _second in range(int(minutes * 60)):
                    time.sleep(1)
                    bar.advance(task)
            settle(stage, fleet, journal, _SETTLE_S)
            fleet.stop()
        verdict = audit(stage, journal.snapshot())
    judged = _judge(vitals.samples, minutes)
    return {
        **judged,
        "ok": judged["ok"] and not verdict.violations and not fleet.findings,
        "minutes": minutes,
        "rate_per_s": rate,
        "events": verdict.events,
        **verdict.counts,
        "restarts": fleet.restarts.total(),
        "findings": fleet.findings,
        "series": str(series),
    }


def _judge(samples: list[Sample], minutes: float) -> dict[str, Any]:
    counted = [sample for sample in samples if sample.at_s >= minutes * 60 * _WARM_UP_SHARE]
    slope = slope_mb_per_min(counted)
    part = max(1, len(counted) // 5)
    first, last = _usual(counted[:part]), _usual(counted[-part:])
    return {
        "ok": slope <= MAX_SLOPE_MB_PER_MIN and all(last[name] <= first[name] for name in first),
        "rss_slope_mb_per_min": round(slope, 3),
        "rss_first_mb": round(counted[0].rss_bytes / MB, 1),
        "rss_last_mb": round(counted[-1].rss_bytes / MB, 1),
        "rss_max_mb": round(max(sample.rss_bytes for sample in counted) / MB, 1),
        "first_fifth": first,
        "last_fifth": last,
        "samples": len(counted),
    }


def _usual(samples: list[Sample]) -> dict[str, int]:
    """What is there most of the time: each look at /health/live is a thread and a socket more, for a moment."""
    return {
        "open_files": statistics.median_low(sample.open_files for sample in samples),
        "threads": statistics.median_low(sample.threads for sample in samples),
    }


if __name__ == "__main__":
    app()
