"""Classification without Kafka: lines in, one JSON object out for each, through the same code as the stream."""

import json
import queue
import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import IO, Any, BinaryIO, Final
from uuid import UUID

from consumer.decode import DecodedEvent, decode
from consumer.errors import FatalError, PoisonEvent
from consumer.inference.bundle import default_bundle, load_bundle
from consumer.inference.classifier import Classifier, Verdict
from consumer.inference.isolation import classify_isolating
from consumer.inference.manifest import BundleError, Manifest
from consumer.policy import Policy, load_policy
from consumer.records import SourceRecord
from schemas.labels import HEADS

_WINDOW_LINES: Final = 256
_NO_TOPIC: Final = UUID(int=0)


def classify_lines(lines: BinaryIO, out: IO[str], bundle_url: str | None) -> int:
    """Write one JSON object for each input line, in order; returns how many could not be classified.

    A line that begins with `{` is an event in JSON (source and occurred_at may be absent), any other is a text. Heads
    that the bundle lacks are null. Lines are answered as they arrive: a pipe that stays open is not held up.

    Raises:
        FatalError: the bundle cannot be used.
    """
    try:
        bundle = load_bundle(bundle_url or default_bundle())
        classifier = Classifier(bundle)
        classifier.warm_up()
    except BundleError as error:
        raise FatalError(f"bundle refused: {error}") from error
    policy = load_policy()
    pending: queue.Queue[bytes | None] = queue.Queue(maxsize=4 * _WINDOW_LINES)
    threading.Thread(target=_read, args=(lines, pending), name="stdin", daemon=True).start()
    number = failed = 0
    while window := _next_window(pending):
        decoded = [_decode(line, number + index) for index, line in enumerate(window)]
        number += len(window)
        events = [event for event in decoded if isinstance(event, DecodedEvent)]
        verdicts = iter(classify_isolating(classifier, [event.event.text for event in events]))
        for event in decoded:
            verdict = next(verdicts) if isinstance(event, DecodedEvent) else event
            failed += isinstance(verdict, PoisonEvent)
            out.write(json.dumps(_answer(event, verdict, policy, bundle.manifest), ensure_ascii=False) + "\n")
        out.flush()
    classifier.close()
    return failed


def _read(lines: BinaryIO, pending: "queue.Queue[bytes | None]") -> None:
    for line in lines:
        pending.put(line.rstrip(b"\r\n"))
    pending.put(None)


def _next_window(pending: "queue.Queue[bytes | None]") -> Sequence[bytes]:
    """What has arrived, at least one line, at most a window; empty at the end of the input."""
    window: list[bytes] = []
    while len(window) < _WINDOW_LINES:
        try:
            line = pending.get(block=not window)
        except queue.Empty:
            break
        if line is None:
            pending.put(None)
            break
        window.append(line)
    return window


def _decode(line: bytes, offset: int) -> DecodedEvent | PoisonEvent:
    defaults = {"source": "stdin", "occurred_at": datetime.now(UTC).isoformat()}
    if not line.lstrip().startswith(b"{"):
        line = json.dumps({"text": line.decode("utf-8", "replace"), **defaults}).encode()
    elif isinstance(fields := _object(line), dict):
        line = json.dumps({**defaults, **fields}).encode()
    record = SourceRecord(0, offset, time.time_ns() // 1_000_000, None, line, (), 0)
    try:
        return decode(record, _NO_TOPIC)
    except PoisonEvent as poison:
        return poison


def _object(line: bytes) -> object:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None  # decode() tells the reason


def _answer(
    event: DecodedEvent | PoisonEvent, verdict: Verdict | PoisonEvent, policy: Policy, manifest: Manifest
) -> dict[str, Any]:
    if isinstance(verdict, PoisonEvent):
        reason = {"stage": verdict.stage, "class": verdict.error_class, "message": verdict.message}
        return {"error": reason}
    if isinstance(event, PoisonEvent):
        raise TypeError("a poison event has no verdict")
    heads: dict[str, Any] = {
        head: None if found is None else {"label": found.label, "score": found.score, "scores": found.scores}
        for head in HEADS
        for found in [verdict.heads.get(head)]
    }
    others = {
        head: {"label": found.label, "score": found.score, "scores": found.scores}
        for head, found in verdict.heads.items()
        if head not in HEADS
    }
    routing = None
    if all(heads.values()):
        routing = policy.decide(event.event.text, **{head: verdict.heads[head].label for head in HEADS}).model_dump()
    return {
        "event": event.event.model_dump(mode="json"),
        **heads,
        **others,
        "needs_review": verdict.needs_review,
        "routing": routing,
        "model": {"name": manifest.name, "version": manifest.version, "sha256": manifest.sha256},
        "error": None,
    }
