"""The bundles that classify now. A window is classified by one set of them from its beginning to its end."""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from consumer.errors import ConsumerError, PoisonEvent
from consumer.inference.classifier import Classifier, Verdict
from consumer.models.shadow import Shadow
from consumer.models.shares import is_in_share, key_of
from consumer.preparation import PreparedWindow
from schemas.announcement import CANARY, LIVE, SHADOW, Role

_PURPOSE: Final = b"canary"

ClassifyTexts = Callable[[Classifier, Sequence[str]], Sequence[Verdict | PoisonEvent]]
"""One entry for each text; see `consumer.inference.isolation.classify_isolating`."""


@dataclass(slots=True)
class Serving:
    """A bundle whose verdicts go out: of all events, or as a canary of those of a share of the keys.

    `fault` says why a canary failed while it worked.
    """

    classifier: Classifier
    share: float = 1.0
    fault: str | None = None

    def close(self) -> None:
        """Close the classifier."""
        self.classifier.close()


Part = Serving | Shadow


class Lineup:
    """Classifies windows, and lets bundles be exchanged between two of them.

    One lock is held while a window is classified and while a bundle is exchanged: nobody uses any more what `put`
    returns.
    """

    def __init__(self, live: Serving, classify_texts: ClassifyTexts) -> None:
        self._live = live
        self._others: Mapping[Role, Part] = {}
        self._classify_texts = classify_texts
        self._between_windows = threading.Lock()

    @property
    def parts(self) -> Mapping[Role, Part]:
        """The bundle of each role that has one."""
        return {LIVE: self._live, **self._others}

    def put_live(self, live: Serving) -> Serving:
        """Exchange the bundle that classifies what no other one does; returns the former one."""
        with self._between_windows:
            former, self._live = self._live, live
        return former

    def put(self, role: Role, part: Part) -> Part | None:
        """Exchange the shadow or the canary; returns the former one."""
        with self._between_windows:
            former = self._others.get(role)
            self._others = {**self._others, role: part}
        return former

    def take_out(self, role: Role) -> Part | None:
        """End the shadow or the canary, and return it."""
        with self._between_windows:
            former = self._others.get(role)
            self._others = {other: part for other, part in self._others.items() if other != role}
        return former

    def classify(self, window: PreparedWindow) -> Sequence[Verdict | PoisonEvent]:
        """Classify what a window asks for, one entry for each.

        Raises:
            TransientError, FatalError: as `classify_isolating`, of the live bundle.
        """
        with self._between_windows:
            verdicts = self._classify(window)
            shadow = self._others.get(SHADOW)
            if isinstance(shadow, Shadow):
                shadow.offer([event for _, event in window.unclassified], verdicts)
        return verdicts

    def _classify(self, window: PreparedWindow) -> Sequence[Verdict | PoisonEvent]:
        texts = window.texts
        decided = self._by_canary(window, texts)
        if not decided:
            return self._classify_texts(self._live.classifier, texts)
        rest = [position for position in range(len(texts)) if position not in decided]
        by_live = self._classify_texts(self._live.classifier, [texts[position] for position in rest])
        decided.update(zip(rest, by_live, strict=True))
        return [decided[position] for position in range(len(texts))]

    def _by_canary(self, window: PreparedWindow, texts: Sequence[str]) -> dict[int, Verdict | PoisonEvent]:
        """What the canary decided, by position. What it cannot decide is left to the live bundle."""
        canary = self._others.get(CANARY)
        if not isinstance(canary, Serving) or canary.fault is not None:
            return {}
        positions = [
            position
            for position, (record, _) in enumerate(window.unclassified)
            if is_in_share(key_of(record), canary.share, purpose=_PURPOSE)
        ]
        try:
            verdicts = self._classify_texts(canary.classifier, [texts[position] for position in positions])
        except ConsumerError as error:
            # No event waits for a canary. It gets nothing any more, until the follower takes it out.
            canary.fault = str(error)
            return {}
        return {
            position: verdict
            for position, verdict in zip(positions, verdicts, strict=True)
            if isinstance(verdict, Verdict)
        }
