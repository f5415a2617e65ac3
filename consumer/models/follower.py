"""Keeps the bundles that classify in step with what is announced for them."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import structlog

from consumer.background import in_background
from consumer.errors import FatalError
from consumer.inference.classifier import Classifier
from consumer.inference.fetch import BundleUnavailableError
from consumer.inference.manifest import BundleError
from consumer.models.announcements import Announced, AnnouncementReader
from consumer.models.lineup import ClassifyTexts, Lineup, Part, Serving
from consumer.models.loading import BundleLoader, give_memory_back
from consumer.models.shadow import Shadow
from consumer.models.tidings import Tidings
from schemas.announcement import CANARY, LIVE, SHADOW, Role

log = structlog.get_logger(__name__)

_POLL_S: Final = 0.5
_LOADING_POLL_S: Final = 0.05
# Announcements before one that is refused at the start; each stood the test when it was made.
_EARLIER_TRIED: Final = 3
_FIRST_RETRY_S: Final = 5.0
_LAST_RETRY_S: Final = 300.0
_STOP_WAIT_S: Final = 5.0

OpenShadow = Callable[[Classifier, float], Shadow]
"""Makes a shadow of a classifier, for a share of the events."""


@dataclass(slots=True)
class _Desk:
    """One role: what was announced last, what was done about it, and what serves."""

    wanted: Announced | None = None
    taken_up: Announced | None = None
    serving: Announced | None = None
    failures: int = 0
    retry_at_s: float | None = None

    @property
    def due(self) -> Announced | None:
        """What is to be done now."""
        is_due = self.retry_at_s is not None and time.monotonic() >= self.retry_at_s
        return self.wanted if is_due or self.wanted is not self.taken_up else None


@dataclass(frozen=True, slots=True)
class _Loading:
    announced: Announced
    began_s: float
    classifier: "Future[Classifier]"


class ModelFollower:
    """Reads announcements, loads bundles beside those that serve, and exchanges them between two windows.

    A bundle that cannot be used changes nothing: the one before it goes on, and operators are told why. After `start`
    all of this happens in a thread of its own, and loading in another one: about two seconds of one CPU's time.

    Args:
        reader: the topic.
        loader: opens bundles.
        tidings: tells what became of them.
        open_shadow: makes a shadow, not started yet.
        classify_texts: classifies with one bundle.
        threads: that each bundle classifies with; the CPUs that this process may use when None.
    """

    def __init__(
        self,
        *,
        reader: AnnouncementReader,
        loader: BundleLoader,
        tidings: Tidings,
        open_shadow: OpenShadow,
        classify_texts: ClassifyTexts,
        threads: int | None,
    ) -> None:
        self._reader = reader
        self._loader = loader
        self._tidings = tidings
        self._open_shadow = open_shadow
        self._classify_texts = classify_texts
        self._threads = threads
        self._desks: dict[Role, _Desk] = {role: _Desk() for role in (LIVE, CANARY, SHADOW)}
        self._loading: _Loading | None = None
        self._lineup: Lineup | None = None
        self._is_stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="models", daemon=True)

    @property
    def lineup(self) -> Lineup:
        """What classifies; there is one after `open`."""
        if self._lineup is None:
            raise RuntimeError("no bundle was opened yet")
        return self._lineup

    def open(self, budget_s: float) -> None:
        """Read the topic to its end, and load what serves from the first window on.

        The live bundle is the announced one, if there is one. When that is refused, one that was announced before it
        serves, else the configured one. A canary is there from the beginning too, so that its keys stay its own.

        Raises:
            TransientError: Kafka did not answer within the budget.
            FatalError: no live bundle can be used; the message names the file and the reason.
        """
        history = self._reader.read_to_end(budget_s)
        for announced in history:
            self._desks[announced.role].wanted = announced
        self._open_live([announced for announced in history if announced.role == LIVE])
        canary = self._desks[CANARY].wanted
        if canary is not None and canary.announcement is not None:
            opened: Future[Classifier] = Future()
            try:
                opened.set_result(self._loader.open(CANARY, canary.announcement, self._threads))
            except Exception as error:  # noqa: BLE001 (whatever is wrong with it: it is refused)
                opened.set_exception(error)
            self._desks[CANARY].taken_up = canary
            self._finish(_Loading(canary, time.monotonic(), opened))

    def start(self) -> None:
        """Follow from now on."""
        self._thread.start()

    def info(self) -> Mapping[Role, Mapping[str, Any]]:
        """Each role's bundle, for people and programs."""
        return {} if self._lineup is None else {role: _described(part) for role, part in self._lineup.parts.items()}

    def close(self) -> None:
        """Follow no more, and close every bundle: nothing can be classified afterwards."""
        self._is_stopped.set()
        if self._thread.is_alive():
            self._thread.join(_STOP_WAIT_S)
        self._tidings.close()
        self._reader.close()
        if self._lineup is not None:
            for part in self._lineup.parts.values():
                part.close()

    def _open_live(self, history: Sequence[Announced]) -> None:
        desk = self._desks[LIVE]
        refusal: Exception | None = None
        classifier: Classifier | None = None
        for announced in _newest_first(history):
            try:
                classifier = self._loader.open(LIVE, announced.announcement, self._threads)
            except Exception as error:  # noqa: BLE001 (whatever is wrong with it: another one serves)
                refusal = refusal or error
            else:
                desk.serving = announced
                break
        if classifier is None:
            try:
                classifier = self._loader.open(LIVE, None, self._threads)
            except BundleError as error:
                raise FatalError(f"bundle refused: {error}") from error
        self._lineup = Lineup(Serving(classifier), self._classify_texts)
        desk.taken_up = desk.wanted
        # What serves is told first: of its two reports the topic keeps the refusal, which operators must see.
        serves = desk.wanted if desk.serving is None and refusal is None else desk.serving
        self._tidings.serves(LIVE, classifier.bundle, serves, None)
        if refusal is not None and desk.wanted is not None:
            self._refuse(desk.wanted, refusal)

    def _run(self) -> None:
        while not self._is_stopped.is_set():
            try:
                self._step()
            except Exception as error:  # noqa: BLE001 (whatever it is, the windows go on, and so must this)
                log.error("models_follower_failed", error=type(error).__name__)
                self._is_stopped.wait(_POLL_S)

    def _step(self) -> None:
        for announced in self._reader.poll(_POLL_S if self._loading is None else _LOADING_POLL_S):
            desk = self._desks[announced.role]
            desk.wanted, desk.failures, desk.retry_at_s = announced, 0, None
        for role, part in self.lineup.parts.items():
            if part.fault is not None:
                self._end(role, part.fault)
        self._tidings.poll()
        if self._loading is not None and self._loading.classifier.done():
            loading, self._loading = self._loading, None
            self._finish(loading)
        if self._loading is None:
            self._begin()

    def _begin(self) -> None:
        role = next((role for role, desk in self._desks.items() if desk.due is not None), None)
        if role is None:
            return
        desk = self._desks[role]
        wanted = desk.due
        if wanted is None:
            return
        desk.taken_up, desk.retry_at_s = wanted, None
        if self._is_served(wanted):
            desk.serving = wanted
            part = self.lineup.parts[role]
            part.share = _share(wanted)
            self._tidings.serves(role, part.classifier.bundle, wanted, None)
        elif wanted.announcement is None and role != LIVE:
            self._end(role, None)
        else:
            threads = 1 if role == SHADOW else self._threads
            load = partial(self._loader.open, role, wanted.announcement, threads)
            self._loading = _Loading(wanted, time.monotonic(), in_background(load, "model-load"))

    def _is_served(self, wanted: Announced) -> bool:
        """Whether the bundle that is wanted serves already."""
        if wanted.announcement is None:
            serving = self._desks[wanted.role].serving
            return wanted.role == LIVE and (serving is None or serving.announcement is None)
        part = self.lineup.parts.get(wanted.role)
        return part is not None and part.classifier.bundle.manifest_sha256 == wanted.announcement.manifest_sha256

    def _finish(self, loading: _Loading) -> None:
        announced, error = loading.announced, loading.classifier.exception()
        if self._desks[announced.role].wanted is not announced:
            self._tidings.superseded(announced)
            self._discard(Serving(loading.classifier.result()) if error is None else None)
        elif error is not None:
            self._refuse(announced, error)
            self._discard(None)
        else:
            self._put(announced, loading.classifier.result())
            self._desks[announced.role].serving = announced
            self._tidings.serves(
                announced.role, loading.classifier.result().bundle, announced, time.monotonic() - loading.began_s
            )

    def _put(self, announced: Announced, classifier: Classifier) -> None:
        if announced.role == SHADOW:
            shadow = self._open_shadow(classifier, _share(announced))
            shadow.start()
            self._discard(self.lineup.put(SHADOW, shadow))
            return
        serving = Serving(classifier, _share(announced))
        if announced.role == LIVE:
            self._discard(self.lineup.put_live(serving))
        else:
            self._discard(self.lineup.put(CANARY, serving))

    def _refuse(self, announced: Announced, error: BaseException) -> None:
        desk = self._desks[announced.role]
        if isinstance(error, BundleUnavailableError):
            desk.retry_at_s = time.monotonic() + min(_LAST_RETRY_S, _FIRST_RETRY_S * 2**desk.failures)
            desk.failures += 1
        still = self.lineup.parts.get(announced.role)
        self._tidings.refused(announced, error, None if still is None else still.classifier.bundle)

    def _end(self, role: Role, fault: str | None) -> None:
        """The shadow or canary is withdrawn, or at fault."""
        desk = self._desks[role]
        desk.serving = None
        part = self.lineup.take_out(role)
        if part is None:
            self._tidings.idle(role)
            return
        self._tidings.ended(role, part.classifier.bundle, desk.taken_up, fault)
        self._discard(part)

    def _discard(self, part: Part | None) -> None:
        def discard() -> None:
            if part is not None:
                part.close()
            give_memory_back()

        in_background(discard, "model-close")


def _newest_first(history: Sequence[Announced]) -> list[Announced]:
    """The announcements to try at the start: the newest, and those before it up to a withdrawal."""
    found: list[Announced] = []
    for announced in reversed(history):
        if announced.announcement is None or len(found) > _EARLIER_TRIED:
            break
        found.append(announced)
    return found


def _share(announced: Announced) -> float:
    return 1.0 if announced.announcement is None else announced.announcement.share


def _described(part: Part) -> Mapping[str, Any]:
    bundle = part.classifier.bundle
    manifest = bundle.manifest
    return {
        "name": manifest.name,
        "version": manifest.version,
        "sha256": manifest.sha256,
        "manifest_sha256": bundle.manifest_sha256,
        "share": part.share,
    }
