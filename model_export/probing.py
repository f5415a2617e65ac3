"""How far a machine's answers to a bundle's probes lie from the exporter's."""

from consumer.inference.classifier import Classifier


def probe_deviation(classifier: Classifier) -> float:
    """The largest distance of a probability from the one that the manifest holds for it."""
    probes = classifier.bundle.manifest.probes
    verdicts = classifier.classify([probe.text for probe in probes])
    return max(
        abs(score - expected)
        for probe, verdict in zip(probes, verdicts, strict=True)
        for head, probabilities in probe.probabilities.items()
        for score, expected in zip(verdict.heads[head].scores.values(), probabilities, strict=True)
    )
