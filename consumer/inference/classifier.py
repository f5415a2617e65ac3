"""From texts to verdicts with one bundle."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from time import perf_counter
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from onnxruntime import RunOptions

from consumer.errors import ConsumerError
from consumer.inference.batching import DEFAULT_MAX_BATCH_TOKENS, plan_batches
from consumer.inference.bundle import Bundle
from consumer.inference.cpus import available_cpus
from consumer.inference.encoding import EncodedText, TextEncoder
from consumer.inference.manifest import (
    MANIFEST_FILE,
    MODEL_FILE,
    TOKENIZER_FILE,
    BundleError,
    HeadSpec,
    Manifest,
    Probe,
)
from consumer.inference.session import ATTENTION_MASK, INPUT_IDS, GraphSession, open_session
from consumer.inference.workers import Workers

DEFAULT_DEADLINE_S: Final = 30.0
_TERMINATE_GRACE_S: Final = 5.0
_SCORE_DECIMALS: Final = 6

BatchObserver = Callable[[int, int, float], None]
"""Called after each batch with its records, its padded tokens (longest x count) and its seconds."""


class NonFiniteScores(Exception):  # noqa: N818 - it names what was found; it is no error of the caller
    """The model gave NaN or infinity for a text of the batch."""


@dataclass(frozen=True, slots=True)
class HeadVerdict:
    """One head's decision.

    Attributes:
        label: the label of the highest score; of equal ones the first in label order.
        score: the probability of `label`.
        scores: the probability of each label in label order, rounded to 6 decimals.
    """

    label: str
    score: float
    scores: dict[str, float]


@dataclass(slots=True)
class Verdict:
    """What the model says of one text.

    Attributes:
        heads: a decision for each head of the bundle.
        needs_review: a head that decides about it is less sure than its threshold, or the text is in another script.
        token_count: the tokens that the model saw, special tokens included.
        truncated: the text was longer than the model can see; the rest had no influence.
        model: which bundle decided.
    """

    heads: dict[str, HeadVerdict]
    needs_review: bool
    token_count: int
    truncated: bool
    model: Manifest = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class _BatchResult:
    verdicts: list[Verdict]
    padded_tokens: int
    seconds: float


class Classifier:
    """Classifies texts with one bundle on the CPU; several threads may call it.

    An int8 graph takes one scale for all activations of a batch, so a text's scores depend on the texts beside it, by
    about as much as quantisation itself changes them.
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        threads: int | None = None,
        max_batch_tokens: int = DEFAULT_MAX_BATCH_TOKENS,
        deadline_s: float = DEFAULT_DEADLINE_S,
        on_batch: BatchObserver | None = None,
        open_session: Callable[[bytes], GraphSession] = open_session,
    ) -> None:
        """Load the bundle's tokenizer and graph and start the threads.

        Args:
            bundle: as `load_bundle` checked it.
            threads: batches that run at the same time; the CPUs that this process may use when None.
            max_batch_tokens: the largest padded size of a batch; a single longer text still makes one.
            deadline_s: how long one batch may run.
            on_batch: observer of finished batches, called in the thread that called `classify`.
            open_session: gives the session for the bytes of a model file.

        Raises:
            BundleError: a file is not the one any more that was checked, or onnxruntime cannot load the graph.
        """
        self.bundle = bundle
        self._max_batch_tokens = max_batch_tokens
        self._on_batch = on_batch
        self._heads: list[tuple[str, tuple[str, ...], HeadSpec]] = [
            (head, labels, bundle.manifest.heads[head]) for head, labels in bundle.labels.heads.items()
        ]
        self._encoder = TextEncoder(bundle.read(TOKENIZER_FILE), max_length_tokens=bundle.manifest.max_length)
        self._session = open_session(bundle.read(MODEL_FILE))
        self._deadline_s = deadline_s
        self._workers = self._start_workers(threads)

    def classify(self, texts: Sequence[str]) -> list[Verdict]:
        """Classify texts of any length and content.

        Returns:
            One verdict for each text, in their order.

        Raises:
            NonFiniteScores: the model gave no usable number for some text.
            InferenceTimeout: a batch passed its deadline.
            FatalError: a batch passed its deadline and could not be stopped.
            Exception: whatever else onnxruntime or the tokenizer raises.
        """
        encoded = self._encoder.encode(texts)
        batches = plan_batches(
            [len(text.ids) for text in encoded], max_batch_tokens=self._max_batch_tokens, workers=len(self._workers)
        )
        results = self._workers.run(
            [partial(self._classify_batch, [encoded[index] for index in batch]) for batch in batches]
        )
        verdicts: dict[int, Verdict] = {}
        for batch, result in zip(batches, results, strict=True):
            verdicts.update(zip(batch, result.verdicts, strict=True))
            if self._on_batch is not None:
                self._on_batch(len(batch), result.padded_tokens, result.seconds)
        return [verdicts[index] for index in range(len(texts))]

    def warm_up(self) -> float:
        """Run the largest batch on every thread, then check the bundle's probes on this CPU.

        Returns:
            The largest distance of a probe's probability from the exporter's.

        Raises:
            BundleError: the graph fails on its largest input, or a probe differs from the exporter's figures.
        """
        manifest = self.bundle.manifest
        largest = EncodedText([self._encoder.largest_id] * manifest.max_length, truncated=False)
        batch = [largest] * max(1, self._max_batch_tokens // manifest.max_length)
        try:
            self._workers.run([partial(self._classify_batch, batch)] * len(self._workers))
            deviation = self._deviation(manifest.probes)
        except ConsumerError:
            raise
        except Exception as error:
            raise BundleError(
                f"{self.bundle.folder / MODEL_FILE}: fails during warm-up with batches of {len(batch)} x "
                f"{manifest.max_length} tokens ({type(error).__name__}: {error}); if memory is short lower the token "
                f"budget of a batch, else {TOKENIZER_FILE} or max_length does not belong to this graph: export it again"
            ) from error
        if deviation > manifest.probe_tolerance:
            raise BundleError(
                f"{self.bundle.folder / MANIFEST_FILE}: probes: this machine's probabilities lie up to {deviation:.4f} "
                f"from the exporter's, more than probe_tolerance {manifest.probe_tolerance:g}; the CPU may lack the "
                "instructions that the quantised graph needs: export it on this kind of machine, or unquantised"
            )
        return deviation

    def probe(self) -> bool:
        """Whether a known-good text of the bundle is classified as the exporter says, now."""
        manifest = self.bundle.manifest
        try:
            return self._deviation(manifest.probes[:1]) <= manifest.probe_tolerance
        except Exception:  # noqa: BLE001 - whatever it is, the answer is no
            return False

    def replace_threads(self, threads: int | None) -> None:
        """Go on with `threads` new threads, which have the calling thread's priority. Nobody may classify meanwhile."""
        former, self._workers = self._workers, self._start_workers(threads)
        former.close()

    def close(self) -> None:
        """Stop the threads and let go of the graph. The classifier cannot be used afterwards, nor closed again."""
        self._workers.close()
        # Whoever still holds the classifier must not hold its memory.
        del self._session, self._encoder

    def _start_workers(self, threads: int | None) -> Workers:
        return Workers(threads or available_cpus(), deadline_s=self._deadline_s, grace_s=_TERMINATE_GRACE_S)

    def _classify_batch(self, batch: Sequence[EncodedText], options: RunOptions) -> _BatchResult:
        started = perf_counter()
        input_ids, attention_mask = self._pad(batch)
        feed = {INPUT_IDS: input_ids, ATTENTION_MASK: attention_mask}
        outputs = self._session.run([spec.output for _, _, spec in self._heads], feed, options)
        columns = [
            _head_verdicts(logits, labels, spec.temperature)
            for logits, (_, labels, spec) in zip(outputs, self._heads, strict=True)
        ]
        verdicts = [self._verdict(text, row) for text, row in zip(batch, zip(*columns, strict=True), strict=True)]
        return _BatchResult(verdicts, input_ids.size, perf_counter() - started)

    def _pad(self, batch: Sequence[EncodedText]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        shape = (len(batch), max(len(text.ids) for text in batch))
        input_ids = np.full(shape, self._encoder.pad_id, dtype=np.int64)
        attention_mask = np.zeros(shape, dtype=np.int64)
        for row, text in enumerate(batch):
            input_ids[row, : len(text.ids)] = text.ids
            attention_mask[row, : len(text.ids)] = 1
        return input_ids, attention_mask

    def _verdict(self, text: EncodedText, row: tuple[HeadVerdict, ...]) -> Verdict:
        return Verdict(
            heads={head: verdict for (head, _, _), verdict in zip(self._heads, row, strict=True)},
            needs_review=text.is_other_script
            or any(
                spec.decides_review and verdict.score < spec.review_threshold
                for (_, _, spec), verdict in zip(self._heads, row, strict=True)
            ),
            token_count=len(text.ids),
            truncated=text.truncated,
            model=self.bundle.manifest,
        )

    def _deviation(self, probes: Sequence[Probe]) -> float:
        """The largest distance of a probability from the one that the exporting machine computed."""
        verdicts = self.classify([probe.text for probe in probes])
        return max(
            abs(score - expected)
            for probe, verdict in zip(probes, verdicts, strict=True)
            for head, probabilities in probe.probabilities.items()
            for score, expected in zip(verdict.heads[head].scores.values(), probabilities, strict=True)
        )


def _head_verdicts(logits: NDArray[np.floating[Any]], labels: Sequence[str], temperature: float) -> list[HeadVerdict]:
    """Softmax of logits / temperature (Guo et al. 2017) for logits [texts, labels]."""
    if not np.isfinite(logits).all():
        raise NonFiniteScores("the model gave a score that is no finite number")
    scaled = logits.astype(np.float64) / temperature
    exponentials = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    rounded = np.round(exponentials / exponentials.sum(axis=1, keepdims=True), _SCORE_DECIMALS)
    return [
        HeadVerdict(labels[best], scores[best], dict(zip(labels, scores, strict=True)))
        for best, scores in zip(rounded.argmax(axis=1).tolist(), rounded.tolist(), strict=True)
    ]
