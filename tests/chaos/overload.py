"""`python -m tests.chaos.overload`: a burst of ten times what the consumer can do; memory stays, the lag recovers."""

import json
import sys
import time
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console

from devstack.errors import DevstackError
from tests.chaos.fleet import Fleet
from tests.chaos.journal import Journal
from tests.chaos.run import audit, make_load, settle
from tests.chaos.stage import Stage, private_stage
from tests.chaos.vitals import MB, Vitals
from tests.chaos.watch import Watch

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
errors = Console(stderr=True)

FACTOR: Final = 10
# Two windows in flight and the client's bounded prefetch; a buffer without a bound would take all of the backlog.
MAX_GROWTH_MB: Final = 100.0
_EVERY_S: Final = 1.0
_PROBE_S: Final = 5.0
_READY_S: Final = 60.0
# Twice as long as at full speed, and a little for the rest.
_RECOVERY_FACTOR: Final = 2.0
_RECOVERY_S: Final = 60.0
_AS_SHIPPED: Final = {"CONSUMER_BUNDLE_URL": "models/default", "CONSUMER_INFERENCE_DEADLINE_S": "30"}


@app.command()
def main(
    seconds: Annotated[float, typer.Option(help="Length of the burst.", min=1)] = 30,
    probe_rate: Annotated[float, typer.Option(help="More than the machine can do, for the first measurement.")] = 600,
    series: Annotated[Path, typer.Option(help="CSV file that the samples are written to as they come.")] = Path(
        ".devstack/overload.csv"
    ),
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the report as JSON to this file.")] = None,
) -> None:
    """Measure what one consumer with the model that ships can do, then publish ten times as much.

    Exit status: 0 when memory grew by less than 100 MB, the lag went away in time and nothing was lost; 1 when not; 2
    when the run could not take place.
    """
    try:
        report = _overload(seconds, probe_rate, series)
    except DevstackError as error:
        errors.print(str(error), style="red", markup=False)
        sys.exit(2)
    Console().print_json(data=report)
    if json_file is not None:
        json_file.write_text(json.dumps(report, indent=1) + "\n", "utf-8")
    raise typer.Exit(0 if report["ok"] else 1)


def _overload(seconds: float, probe_rate: float, series: Path) -> dict[str, Any]:
    with private_stage("chaos-overload", variables=_AS_SHIPPED) as stage:
        journal = Journal()
        fleet = Fleet(stage.variables, ("consumer", "run"), stage.work)
        with fleet, Watch(stage.librdkafka, stage.results, stage.dead_letters, journal):
            fleet.scale(1)
            if not fleet.wait_until(fleet.all_ready, _READY_S):
                raise DevstackError("the consumer did not become ready")
            [pid] = fleet.pids
            vitals = Vitals(pid, series, every_s=_EVERY_S, waiting=lambda: journal.count_waiting(time.monotonic()))
            with vitals:
                capacity_per_s = _capacity(stage, fleet, journal, probe_rate)
                errors.print(f"capacity {capacity_per_s:.0f} events/s; the burst begins", highlight=False)
                before = max(sample.rss_bytes for sample in vitals.samples)
                began_s = time.monotonic()
                load = make_load(stage, journal, rate_per_s=FACTOR * capacity_per_s, seed=2, first_sequence=1_000_000)
                with load:
                    time.sleep(seconds)
                published_s = time.monotonic() - began_s
                backlog = journal.count_waiting(time.monotonic())
                errors.print(f"{backlog:,} events wait; recovering", highlight=False)
                budget_s = backlog / capacity_per_s * _RECOVERY_FACTOR + _RECOVERY_S
                recovered = settle(stage, fleet, journal, budget_s)
                recovery_s = time.monotonic() - began_s - published_s
            fleet.stop()
        verdict = audit(stage, journal.snapshot())
    peak = max(sample.rss_bytes for sample in vitals.samples)
    growth_mb = (peak - before) / MB
    return {
        "ok": recovered and growth_mb <= MAX_GROWTH_MB and not verdict.violations and not fleet.findings,
        "capacity_per_s": round(capacity_per_s, 1),
        "burst_s": round(published_s, 1),
        "backlog_events": backlog,
        "recovery_s": round(recovery_s, 1),
        "recovery_limit_s": round(budget_s, 1),
        "rss_before_mb": round(before / MB, 1),
        "rss_peak_mb": round(peak / MB, 1),
        "rss_growth_mb": round(growth_mb, 1),
        "events": verdict.events,
        **verdict.counts,
        "restarts": fleet.restarts.total(),
        "findings": fleet.findings,
        "series": str(series),
    }


def _capacity(stage: Stage, fleet: Fleet, journal: Journal, probe_rate: float) -> float:
    """Events a second from the first publish of a burst to its last outcome."""
    began_s = time.monotonic()
    with make_load(stage, journal, rate_per_s=probe_rate, seed=1):
        time.sleep(_PROBE_S)
    if not settle(stage, fleet, journal, _READY_S * 2):
        raise DevstackError("the consumer did not get through the first burst")
    return len(journal.snapshot()) / (time.monotonic() - began_s)


if __name__ == "__main__":
    app()
