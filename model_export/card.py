"""The model card that goes with a bundle, written from its manifest and from the training report."""

from collections.abc import Iterable, Mapping
from typing import Any

from consumer.inference.manifest import LABELS_FILE, MANIFEST_FILE, MODEL_FILE, TOKENIZER_FILE, Manifest

_CARD = """\
# {name} {version}

{purpose} Run by onnxruntime on CPUs. Quantisation: {quantisation}{kept}.

| file | what it is |
|---|---|
| `{model_file}` | the graph, {size_mb:.1f} MB, opset {opset}, sha256 `{sha256}` |
| `{tokenizer_file}` | the tokenizer; truncation and padding are left to whoever encodes, at {max_length} tokens |
| `{labels_file}` | the labels of each head, in the order of its outputs |
| `{manifest_file}` | hashes, calibration, probes, figures; a consumer checks it before it trusts the rest |

{use}## Figures
{figures}
## Parity with PyTorch and between precisions

| check | figure | limit |
|---|---|---|
{parity}
{speed}
Heads: {heads}.

## How it was made

```
{commands}
```

{tools}
{data}"""

_FEEDBACK_PURPOSE = """\
Classifies customer feedback in English: sentiment, category, and whether it holds a suggestion to act on. One
DistilBERT encoder with three linear heads."""

_FEEDBACK_USE = """\
## Use

Meant for messages about products and services, up to {max_length} tokens (longer ones are cut), to route and count
them. Verdicts below the review threshold are marked `needs_review` and belong before a person. Not meant for
decisions about people.

## Limits

- English. Other languages get an answer that means little.
- `documentation` was learnt from software projects, `other` is an open class, and restaurants, hotels, shops and
  deliveries are thin in the training data.
- Single sentences out of a conversation are judged without it.
- An int8 graph scales activations over a whole batch: a text's scores move a little with its company.
- Labels were made by language-model annotators who read each message by a guide; where two annotators differ, so does
  the truth that the figures below are measured against.

"""

_OTHER_PURPOSE = """\
A DistilBERT sequence classifier with one head, `{head}`: {labels}."""

_OTHER_USE = """\
## Use

For `python -m consumer classify --bundle`; the stream processor refuses it, because results need three heads. What it
is good for, and where it fails, stands in the documentation of its checkpoint: this export only knows how it computes.
Texts beyond {max_length} tokens are cut.

"""

_TRAINING = """
## Training data

{train_rows} rows trained and {validation_rows} validated, {minutes:.0f} minutes on {threads} CPU thread(s). Kept:
{kept}.{teachers} Base: `{base}` (`minilm` is all-MiniLM-L6-v2, Apache-2.0, rebuilt as the DistilBERT that computes the
same).

No text of the sources below is part of this bundle. Rows of class `unstated` and `research` trained the weights and
are not redistributed; rows for non-commercial use only did not train it.

| source | licence | class | rows |
|---|---|---|---|
{rows}
"""


def model_card(
    manifest: Manifest, labels: Mapping[str, tuple[str, ...]], training_report: dict[str, Any] | None, model_bytes: int
) -> str:
    """Write the model card in Markdown.

    Args:
        manifest: of the bundle.
        labels: of each head.
        training_report: `report.json` of the checkpoint, if there is one.
        model_bytes: size of the graph.
    """
    kept = manifest.parity.get("nodes_kept_fp32") or []
    purpose, use = _FEEDBACK_PURPOSE, _FEEDBACK_USE
    if len(labels) == 1:
        [(head, names)] = labels.items()
        purpose, use = _OTHER_PURPOSE.format(head=head, labels=", ".join(names)), _OTHER_USE
    return _CARD.format(
        purpose=purpose,
        use=use.format(max_length=manifest.max_length),
        name=manifest.name,
        version=manifest.version,
        quantisation=manifest.quantisation,
        kept=f", with {', '.join(kept)} in fp32" if kept else "",
        model_file=MODEL_FILE,
        size_mb=model_bytes / 1e6,
        opset=manifest.opset,
        sha256=manifest.sha256,
        tokenizer_file=TOKENIZER_FILE,
        max_length=manifest.max_length,
        labels_file=LABELS_FILE,
        manifest_file=MANIFEST_FILE,
        figures=_figures(manifest),
        parity="\n".join(
            f"| {name} | {value['figure']:.4g} {value.get('detail', '')} | {value['limit']:g} |"
            for name, value in manifest.parity.items()
            if isinstance(value, dict)
        ),
        speed=_speed(manifest),
        heads="; ".join(
            f"{head} temperature {spec.temperature:g}, review below {spec.review_threshold:g}"
            + (" (decides)" if spec.decides_review else "")
            for head, spec in manifest.heads.items()
        ),
        commands="\n".join(_commands(manifest, trained_here=training_report is not None)),
        tools="Tools: " + ", ".join(f"{tool} {version}" for tool, version in manifest.tools.items()) + ".",
        data=_data(training_report),
    )


def _commands(manifest: Manifest, *, trained_here: bool) -> Iterable[str]:
    if trained_here:
        yield f"python -m training fit --data labelled.jsonl --out {manifest.source_checkpoint}"
    options = f"--out {manifest.name} --name {manifest.name} --version {manifest.version}"
    evidence = "--unverified" if manifest.metrics.get("unverified") else "--data labelled.jsonl"
    yield f"python -m model_export {manifest.source_checkpoint} {options} --quantise {manifest.quantisation} {evidence}"


def _figures(manifest: Manifest) -> str:
    if manifest.metrics.get("unverified"):
        return "\nNone: this bundle was exported with `--unverified`.\n"
    parts = []
    meaning = {
        "dev": "`dev` rows, of which none was used to train, stop, calibrate or choose",
        "validation": "validation rows, kept aside from training; they stopped it, calibrated and gated this bundle",
    }
    for split in ("dev", "validation"):
        if split not in manifest.metrics:
            continue
        heads = manifest.metrics[split]
        rows = max(each["rows"] for each in heads.values())
        parts.append(f"\nOn {rows} {meaning[split]}:\n")
        parts.append("| head | accuracy | on confidently labelled rows | macro F1 | ECE |\n|---|---|---|---|---|")
        parts += [
            f"| {head} | {each['accuracy']:.3f} | {each['confident_accuracy']:.3f} ({each['confident_rows']} rows) | "
            f"{each['macro_f1']:.3f} | {each['ece']:.3f} |"
            for head, each in heads.items()
        ]
    if "dev" in manifest.metrics:
        agreement = ", ".join(f"{head} {share:.4f}" for head, share in manifest.metrics["dev_label_agreement"].items())
        parts.append(f"\nLabels that equal those of fp32, on `dev`: {agreement}.")
        parts.append("\nBy label, on `dev`:\n")
        parts.append("| head | label | rows | precision | recall | F1 |\n|---|---|---|---|---|---|")
        parts += [
            f"| {head} | {label} | {f['rows']} | {f['precision']:.3f} | {f['recall']:.3f} | {f['f1']:.3f} |"
            for head, each in manifest.metrics["dev"].items()
            for label, f in each["per_label"].items()
        ]
    return "\n".join(parts) + "\n"


def _speed(manifest: Manifest) -> str:
    speed = manifest.measurements.get("int8_speed_over_fp32")
    if speed is None:
        return ""
    low, high = speed["quartiles"]
    return (
        f"\nint8 does {speed['median']:.2f} times the texts of fp32 on the exporting CPU "
        f"(median of interleaved runs; quartiles {low:.2f} and {high:.2f}).\n"
    )


def _data(training_report: dict[str, Any] | None) -> str:
    if training_report is None:
        return ""
    data, teachers = training_report["data"], training_report.get("teachers", [])
    columns, texts = ("source", "licence", "licence_class", "rows"), data.get("unlabelled_texts", 0)
    return _TRAINING.format(
        train_rows=data["train_rows"],
        validation_rows=data["validation_rows"],
        minutes=training_report["training_s"] / 60,
        threads=training_report["threads"],
        kept=training_report.get("kept") or f"epoch {training_report['best_epoch']}",
        teachers=f" {len(teachers)} larger models taught it too, on {texts} texts without label." if teachers else "",
        base=training_report["config"]["base"],
        rows="\n".join(f"| {' | '.join(str(each[column]) for column in columns)} |" for each in data["sources"]),
    )
