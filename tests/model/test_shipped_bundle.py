"""The bundle that ships is whole, quantised, proven, and sensible on plain messages."""

from collections.abc import Iterator

import pytest

from consumer.inference.bundle import Bundle, default_bundle, load_bundle, require_feedback_heads
from consumer.inference.classifier import Classifier
from consumer.inference.manifest import MODEL_CARD_FILE, MODEL_FILE

# Our own words; none of them is in any data set, and none is a probe of the bundle.
EXPECTED = {
    "Since the last update the app freezes on the login screen and then closes itself.": ("bug", None, "no"),
    "It would be great if you could add an option to export my orders as a CSV file.": ("feature_request", None, "yes"),
    "Absolutely love this, works perfectly and the support team is wonderful!": ("praise", "positive", "no"),
    "Terrible customer service, rude on the phone and far too expensive.": ("complaint", "negative", "no"),
    "How can I reset my password if I no longer have my old phone number?": ("question", "neutral", "no"),
    "Tip: to save battery, turn off background refresh in the settings.": ("usage_tip", "neutral", "no"),
    "The API documentation has no example for pagination, please add one.": ("documentation", None, "yes"),
}


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return load_bundle(default_bundle())


@pytest.fixture(scope="module")
def classifier(bundle: Bundle) -> Iterator[Classifier]:
    classifier = Classifier(bundle)
    classifier.warm_up()
    yield classifier
    classifier.close()


def test_it_serves_the_three_heads(bundle: Bundle) -> None:
    require_feedback_heads(bundle)
    assert bundle.manifest.max_length == 256
    assert [head for head, spec in bundle.manifest.heads.items() if spec.decides_review] == ["category"]


def test_it_is_int8_and_small(bundle: Bundle) -> None:
    assert bundle.manifest.quantisation == "int8"
    graph = (bundle.folder / MODEL_FILE).read_bytes()
    assert b"QAttention" in graph
    assert b"MatMulInteger" in graph
    assert len(graph) < 30_000_000


def test_every_gate_that_its_manifest_records_was_passed(bundle: Bundle) -> None:
    parity = {name: gate for name, gate in bundle.manifest.parity.items() if name != "nodes_kept_fp32"}
    assert {"torch_fp32_logit_difference", "category_label_agreement", "category_accuracy_loss"} <= parity.keys()
    for name, gate in parity.items():
        if name.endswith("_agreement"):
            assert gate["figure"] >= gate["limit"], name
        else:
            assert gate["figure"] <= gate["limit"], name


def test_its_figures_are_those_of_a_trained_model(bundle: Bundle) -> None:
    dev = bundle.manifest.metrics["dev"]
    assert dev["category"]["accuracy"] >= 0.80
    assert dev["sentiment"]["accuracy"] >= 0.85
    assert dev["constructive"]["accuracy"] >= 0.90
    card = (bundle.folder / MODEL_CARD_FILE).read_text(encoding="utf-8")
    assert f"| category | {dev['category']['accuracy']:.3f} |" in card
    assert bundle.manifest.sha256 in card
    for licence in ("CC BY 4.0", "MPL-2.0", "MIT", "research"):
        assert licence in card


def test_plain_messages_get_the_label_a_person_would_give(classifier: Classifier) -> None:
    verdicts = classifier.classify(list(EXPECTED))
    for (text, (category, sentiment, constructive)), verdict in zip(EXPECTED.items(), verdicts, strict=True):
        assert verdict.heads["category"].label == category, text
        assert sentiment is None or verdict.heads["sentiment"].label == sentiment, text
        assert verdict.heads["constructive"].label == constructive, text


def test_a_text_that_the_model_cannot_read_is_sent_to_review(classifier: Classifier) -> None:
    assert classifier.classify(["Приложение не работает"])[0].needs_review


def test_company_in_a_batch_changes_no_label_of_a_clear_message(classifier: Classifier) -> None:
    texts = [*EXPECTED, "x", "long words " * 100]
    together = classifier.classify(texts)
    for text, among in zip(texts[: len(EXPECTED)], together, strict=False):
        alone = classifier.classify([text])[0]
        for head, verdict in alone.heads.items():
            assert among.heads[head].label == verdict.label, text
            assert among.heads[head].score == pytest.approx(verdict.score, abs=0.1), text
