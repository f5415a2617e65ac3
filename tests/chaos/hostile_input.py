"""`python -m tests.chaos.hostile_input`: generated records through the consumer's own steps, and through the brokers.

Every record must end as a row with a result that follows the contract, or as a dead letter with its bytes intact.
"""

import json
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, Final

import typer
from confluent_kafka import KafkaError, Message, Producer
from hypothesis import HealthCheck, Phase, given, seed, settings
from rich.console import Console

from consumer.dead_letters import to_dead_letter
from consumer.inference.bundle import load_bundle
from consumer.inference.classifier import Classifier
from consumer.inference.isolation import classify_isolating
from consumer.outcomes import KnownRecords, Proposal
from consumer.policy import load_policy
from consumer.preparation import Preparation
from consumer.records import SourceRecord
from consumer.results import to_result
from demo.records import Coordinates, Ending, Expectation
from devstack.errors import DevstackError
from schemas.result import ClassifiedFeedback
from schemas.topics import EVENTS, RESULTS, load_topics
from tests.chaos.fleet import Fleet
from tests.chaos.hostile_values import Generated, generated_records
from tests.chaos.journal import Journal, Sent
from tests.chaos.load import sequence_headers
from tests.chaos.run import audit, settle
from tests.chaos.stage import Stage, private_stage
from tests.chaos.watch import Watch
from tests.inference.tiny_bundle import build_tiny_bundle

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
errors = Console(stderr=True)

_LIST_RECORDS: Final = 25
_TOPIC_ID: Final = uuid.UUID(int=7)
_TIMESTAMP_MS: Final = 1_767_225_660_000
_READY_S: Final = 60.0
_SETTLE_S: Final = 600.0
_ANY_ENDING: Final = frozenset({Ending.CLASSIFIED, Ending.DEAD_LETTER})


@app.command()
def main(
    records: Annotated[int, typer.Option(help="How many through decode, classify and encode.", min=0)] = 100_000,
    through_broker: Annotated[int, typer.Option(help="How many through a real Kafka and PostgreSQL.", min=0)] = 10_000,
    seed_: Annotated[int, typer.Option("--seed", help="Decides what is generated.")] = 1,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the report as JSON to this file.")] = None,
) -> None:
    """Generate records and see what becomes of them.

    Exit status: 0 when each ended as a row or a dead letter, 1 when one did not, 2 when the run could not take place.
    """
    report: dict[str, Any] = {"seed": seed_}
    try:
        if records:
            report["in_process"] = _in_process(records, seed_)
        if through_broker:
            report["through_broker"] = _through_broker(through_broker, seed_)
    except DevstackError as error:
        errors.print(str(error), style="red", markup=False)
        sys.exit(2)
    report["ok"] = all(part["ok"] for part in report.values() if isinstance(part, dict))
    Console().print_json(data=report)
    if json_file is not None:
        json_file.write_text(json.dumps(report, indent=1) + "\n", "utf-8")
    raise typer.Exit(0 if report["ok"] else 1)


def generate(count: int, number: int, use: Callable[[Sequence[Generated]], None]) -> None:
    """Hand so many generated records to `use`, a list at a time. The seed decides what they are."""

    @seed(number)
    @settings(
        max_examples=-(-count // _LIST_RECORDS),
        phases=[Phase.generate],
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(generated_records(_LIST_RECORDS))
    def each(records: list[Generated]) -> None:
        use(records)

    each()


def _in_process(count: int, number: int) -> dict[str, Any]:
    """Decode, classify and encode as the engine does, without a broker."""
    endings: Counter[str] = Counter()
    faults: list[str] = []
    began_s = time.monotonic()
    with _pipeline() as (preparation, classifier):

        def use(records: Sequence[Generated]) -> None:
            sources = [_source(index, record) for index, record in enumerate(records)]
            prepared = preparation.prepare(sources, lambda *_: KnownRecords(frozenset(), {}))
            verdicts = classify_isolating(classifier, prepared.texts)
            window = preparation.propose(prepared, verdicts, datetime.now(UTC))
            for source, proposal in zip(window.records, window.proposals, strict=True):
                if proposal is None:
                    faults.append(f"{source!r} has no proposal")
                else:
                    endings[_ending(source, proposal, preparation.max_output_bytes, faults)] += 1

        generate(count, number, use)
    return {
        "ok": not faults,
        "records": endings.total(),
        "seconds": round(time.monotonic() - began_s, 1),
        "endings": dict(endings.most_common()),
        "faults": faults[:20],
    }


@contextmanager
def _pipeline() -> Iterator[tuple[Preparation, Classifier]]:
    with TemporaryDirectory() as folder:
        bundle = load_bundle(str(build_tiny_bundle(Path(folder) / "bundle")))
        classifier = Classifier(bundle, threads=1)
        max_output_bytes = int(load_topics()[RESULTS].config["max.message.bytes"])
        preparation = Preparation(
            topic=EVENTS,
            topic_id=_TOPIC_ID,
            results_topic=RESULTS,
            max_output_bytes=max_output_bytes,
            policy=load_policy(None),
        )
        try:
            yield preparation, classifier
        finally:
            classifier.close()


def _source(index: int, record: Generated) -> SourceRecord:
    key, value, own_headers = record
    return SourceRecord(0, index, _TIMESTAMP_MS, key, value, own_headers, epoch=1)


def _ending(source: SourceRecord, proposal: Proposal, max_bytes: int, faults: list[str]) -> str:
    if proposal.row is not None:
        result = to_result(proposal.row, RESULTS)
        ClassifiedFeedback.model_validate_json(result.value or b"")
        if result.key != source.key or result.size_bytes > max_bytes:
            faults.append(f"{source!r}: key or size of its result")
        return "classified"
    if proposal.failure is None:
        faults.append(f"{source!r} is neither a row nor a dead letter")
        return "nothing"
    letter = to_dead_letter(
        source,
        "dead letters",
        source_topic=EVENTS,
        stage=proposal.failure.stage,
        error_class=proposal.failure.error_class,
        error_message=proposal.failure.message,
        attempts=proposal.attempts,
        first_failed_at=datetime.now(UTC),
        app_version="0",
        max_bytes=max_bytes,
    )
    if (letter.key, letter.value, letter.headers[: len(source.headers)]) != (source.key, source.value, source.headers):
        faults.append(f"{source!r}: its dead letter is not what was sent")
    return proposal.failure.error_class


def _through_broker(count: int, number: int) -> dict[str, Any]:
    """Publish them, let the shipped consumer work, and let the oracle judge."""
    journal = Journal()
    began_s = time.monotonic()
    with private_stage("chaos-hostile") as stage:
        _accept_dead_letters(stage)
        _publish(stage, count, number, journal)
        fleet = Fleet(stage.variables, ("consumer", "run"), stage.work)
        with fleet, Watch(stage.librdkafka, stage.results, stage.dead_letters, journal):
            fleet.scale(1)
            if not fleet.wait_until(fleet.all_ready, _READY_S):
                raise DevstackError("the consumer did not become ready")
            settle(stage, fleet, journal, _SETTLE_S)
            fleet.stop()
        verdict = audit(stage, journal.snapshot())
    return {
        "ok": not verdict.violations and not fleet.findings and not fleet.exits,
        "records": verdict.events,
        "seconds": round(time.monotonic() - began_s, 1),
        "endings": verdict.outcomes,
        **verdict.counts,
        "exits": [end.reason for end in fleet.exits],
        "findings": fleet.findings,
        "faults": [str(violation) for violation in verdict.violations[:20]],
    }


def _accept_dead_letters(stage: Stage) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "consumer", "dlq", "accept"),
            *("--reason", "generated records", "--duration-s", str(_SETTLE_S * 2)),
        ],
        env=dict(stage.variables),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise DevstackError(f"dead letters could not be accepted: {done.stderr.strip()}")


def _publish(stage: Stage, count: int, number: int, journal: Journal) -> None:
    producer = Producer({**stage.librdkafka, "enable.idempotence": True, "partitioner": "murmur2_random"})
    published = 0

    def use(records: Sequence[Generated]) -> None:
        nonlocal published
        for key, value, own_headers in records:
            published += 1
            sequence = published
            all_headers = (*own_headers, *sequence_headers(sequence))
            journal.add(
                Sent(
                    sequence=sequence,
                    kind="generated",
                    key=key,
                    value=value,
                    headers=all_headers,
                    expectation=Expectation(endings=_ANY_ENDING),
                    sent_s=time.monotonic(),
                )
            )

            def on_delivery(error: KafkaError | None, message: Message, sequence: int = sequence) -> None:
                partition, offset = message.partition(), message.offset()
                if error is not None or partition is None or offset is None:
                    journal.failed(sequence)
                else:
                    journal.acknowledged(sequence, Coordinates(partition, offset))

            producer.produce(stage.events, value=value, key=key, headers=list(all_headers), on_delivery=on_delivery)
            producer.poll(0)

    generate(count, number, use)
    if producer.flush(_READY_S):
        raise DevstackError("Kafka did not acknowledge in time")


if __name__ == "__main__":
    app()
