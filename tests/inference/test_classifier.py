import json
import math
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from consumer.inference.bundle import Bundle, load_bundle
from consumer.inference.classifier import Classifier, NonFiniteScores, Verdict
from consumer.inference.manifest import MANIFEST_FILE, MODEL_FILE, TOKENIZER_FILE, BundleError
from schemas.labels import HEADS
from tests.inference.faults import FaultySession
from tests.inference.tiny_bundle import MAX_LENGTH_TOKENS, PROBE_TEXTS, build_tiny_bundle, write_manifest

TEXTS = ["great app", "it crashes", "how?", "please add a dark mode " * 9, "ok", "the manual is wrong", "meh"] * 9


class FixedLogits:
    """A session that gives every text the same logits."""

    def __init__(self, logits: dict[str, list[float]]) -> None:
        self._logits = logits

    def run(self, output_names: Any, input_feed: Any, _: Any, /) -> list[Any]:
        rows = len(input_feed["input_ids"])
        return [np.tile(np.array(self._logits[name], np.float32), (rows, 1)) for name in output_names]


def give(session: FixedLogits, _: Path) -> FixedLogits:
    return session


def scores(verdicts: list[Verdict]) -> list[list[float]]:
    return [[score for head in verdict.heads.values() for score in head.scores.values()] for verdict in verdicts]


def test_verdicts_keep_the_order_of_the_texts_whatever_their_batches(classifier: Classifier) -> None:
    together = classifier.classify(TEXTS)
    alone = [classifier.classify([text])[0] for text in TEXTS]

    assert np.array(scores(together)) == pytest.approx(np.array(scores(alone)), abs=2e-6)
    assert [verdict.token_count for verdict in together] == [verdict.token_count for verdict in alone]


def test_a_verdict_holds_probabilities_in_label_order(classifier: Classifier) -> None:
    for verdict in classifier.classify(TEXTS):
        assert {head: tuple(decision.scores) for head, decision in verdict.heads.items()} == HEADS
        for decision in verdict.heads.values():
            assert sum(decision.scores.values()) == pytest.approx(1, abs=1e-5)
            assert decision.score == decision.scores[decision.label] == max(decision.scores.values())
            assert all(score == round(score, 6) for score in decision.scores.values())


def test_equal_scores_go_to_the_first_label_and_unsure_texts_to_review(bundle: Bundle) -> None:
    logits = {f"{head}_logits": [0.0] * len(labels) for head, labels in HEADS.items()}
    for category, needs_review in ([0.0] * 8, True), ([0.0, 9.0, *[0.0] * 5, 9.0], True), ([0.0] * 7 + [9.0], False):
        session = FixedLogits({**logits, "category_logits": category})
        classifier = Classifier(bundle, threads=1, open_session=partial(give, session))
        verdict = classifier.classify(["text"])[0]
        classifier.close()

        assert verdict.heads["category"].label == HEADS["category"][category.index(max(category))]
        assert verdict.heads["sentiment"].label == "negative"
        assert verdict.needs_review is needs_review


@pytest.mark.parametrize(
    ("text", "needs_review"),
    [
        ("It crashes", False),
        ("Приложение не работает", True),
        ("アプリが動かない https://example.com/a", True),
        ("👍 5/5", False),
    ],
)
def test_a_text_in_another_script_goes_to_review_however_sure_the_scores(
    bundle: Bundle, text: str, needs_review: bool
) -> None:
    logits = {f"{head}_logits": [9.0] + [0.0] * (len(labels) - 1) for head, labels in HEADS.items()}
    classifier = Classifier(bundle, threads=1, open_session=partial(give, FixedLogits(logits)))
    verdict = classifier.classify([text])[0]
    classifier.close()

    assert verdict.needs_review is needs_review


@pytest.mark.parametrize(
    ("text", "truncated"),
    [
        ("", False),
        (" \n\t ", False),
        ("\U0001f600\U0001f468\u200d\U0001f469\u200d\U0001f467" * 3, False),
        ("Привет, 你好, مرحبا \u202e hello", False),
        ("word " * 2000, True),
        ("x" * 10_000, True),
        ("nothing\x00 special", False),
    ],
)
def test_any_text_gets_a_verdict(classifier: Classifier, text: str, truncated: bool) -> None:
    verdict = classifier.classify([text])[0]

    assert 2 <= verdict.token_count <= MAX_LENGTH_TOKENS
    assert verdict.truncated is truncated


def test_no_texts_give_no_verdicts(classifier: Classifier) -> None:
    assert classifier.classify([]) == []


def test_two_seeds_of_the_tiny_bundle_disagree_on_every_text(classifier: Classifier, tmp_path: Path) -> None:
    other = Classifier(load_bundle(build_tiny_bundle(tmp_path / "other", seed=1)), threads=1)
    for one, two in zip(classifier.classify(TEXTS), other.classify(TEXTS), strict=True):
        assert all(one.heads[head].label != two.heads[head].label for head in HEADS)
    other.close()


def test_the_observer_sees_every_record_once_within_the_budget(bundle: Bundle) -> None:
    seen: list[tuple[int, int, float]] = []
    classifier = Classifier(bundle, threads=2, max_batch_tokens=40, on_batch=lambda *batch: seen.append(batch))
    classifier.classify(TEXTS)
    classifier.close()

    assert sum(records for records, _, _ in seen) == len(TEXTS)
    assert all(tokens <= 40 or records == 1 for records, tokens, _ in seen)
    assert all(seconds > 0 for _, _, seconds in seen)


def test_warm_up_accepts_a_good_bundle_and_the_probe_passes(classifier: Classifier) -> None:
    classifier.warm_up()
    assert classifier.probe()


def test_warm_up_refuses_a_bundle_whose_probes_differ_here(folder: Path) -> None:
    manifest = json.loads((folder / MANIFEST_FILE).read_text())
    probabilities = manifest["probes"][-1]["probabilities"]["category"]
    manifest["probes"][-1]["probabilities"]["category"] = [*probabilities[1:], probabilities[0]]
    write_manifest(folder, manifest)
    classifier = Classifier(load_bundle(folder), threads=1)

    with pytest.raises(BundleError, match=r"manifest\.json: probes: .* more than probe_tolerance 0\.001"):
        classifier.warm_up()
    classifier.close()


def test_warm_up_refuses_a_tokenizer_with_more_tokens_than_the_graph_knows(folder: Path) -> None:
    tokenizer = json.loads((folder / TOKENIZER_FILE).read_text())
    tokenizer["model"]["vocab"]["beyond"] = len(tokenizer["model"]["vocab"])
    (folder / TOKENIZER_FILE).write_text(json.dumps(tokenizer))
    write_manifest(folder, json.loads((folder / MANIFEST_FILE).read_text()))
    classifier = Classifier(load_bundle(folder), threads=1)

    with pytest.raises(BundleError, match=r"tokenizer\.json or max_length does not belong to this graph"):
        classifier.warm_up()
    classifier.close()


def test_the_probe_fails_with_the_session(fragile: Classifier, session: FaultySession) -> None:
    assert fragile.probe()
    session.broken_by = RuntimeError("gone")
    assert not fragile.probe()


def test_scores_that_are_no_numbers_are_an_error(fragile: Classifier) -> None:
    with pytest.raises(NonFiniteScores):
        fragile.classify(["fine", "nan"])


def test_temperature_is_applied_as_the_exporter_did(classifier: Classifier, bundle: Bundle) -> None:
    for probe, verdict in zip(bundle.manifest.probes, classifier.classify(PROBE_TEXTS), strict=True):
        for head, expected in probe.probabilities.items():
            assert all(
                math.isclose(score, value, abs_tol=2e-6)
                for score, value in zip(verdict.heads[head].scores.values(), expected, strict=True)
            )


def test_onnxruntime_reports_nothing_to_its_vendor(tmp_path: Path, bundle: Bundle) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    model = str(bundle.folder / MODEL_FILE)
    code = "import sys; from consumer.inference.session import open_session; open_session(sys.argv[1])"
    subprocess.run(
        [sys.executable, "-c", code, model],
        env={**environment, "HOME": str(tmp_path)},
        check=True,
        timeout=60,
    )
    assert list(tmp_path.iterdir()) == []
