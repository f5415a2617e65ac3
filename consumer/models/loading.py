"""From an announcement, or the settings, to a classifier that is warm, and back to the memory that it took."""

import ctypes
import gc
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from consumer.inference.bundle import Bundle, default_bundle, load_bundle, require_feedback_heads
from consumer.inference.classifier import Classifier
from consumer.inference.manifest import MANIFEST_FILE, BundleError
from schemas.announcement import Announcement, Role

OpenClassifier = Callable[[Bundle, Role, int | None], Classifier]
"""Opens a bundle for a role, with a number of threads; as many as there are CPUs when None."""


@dataclass(frozen=True, slots=True)
class BundleLoader:
    """Opens bundles.

    Attributes:
        configured_url: the bundle that serves while none is announced; the one that ships when None.
        allowed_prefixes: where bundles may come from. Empty: the configured one from anywhere, and no other place may
            be announced, for who can write to a topic must not choose what this process loads.
        open_classifier: gives the classifier of a checked bundle.
    """

    configured_url: str | None
    allowed_prefixes: Sequence[str]
    open_classifier: OpenClassifier

    def open(self, role: Role, announcement: Announcement | None, threads: int | None) -> Classifier:
        """Load, check and warm up the announced bundle, the configured one when None.

        Raises:
            BundleUnavailableError: its place does not answer; a later attempt may succeed.
            BundleError: it is refused; the message says why and what to do.
            Exception: whatever else its library raises.
        """
        bundle = self._configured() if announcement is None else self._announced(announcement)
        require_feedback_heads(bundle)
        classifier = self.open_classifier(bundle, role, threads)
        try:
            classifier.warm_up()
        except BaseException:
            classifier.close()
            raise
        return classifier

    def _configured(self) -> Bundle:
        return load_bundle(
            self.configured_url or default_bundle(), allowed_prefixes=list(self.allowed_prefixes) or None
        )

    def _announced(self, announcement: Announcement) -> Bundle:
        allowed = list(self.allowed_prefixes)
        if not allowed and self.configured_url is not None:
            allowed = [self.configured_url]
        bundle = load_bundle(announcement.url, allowed_prefixes=allowed, manifest_sha256=announcement.manifest_sha256)
        manifest = bundle.manifest
        said = (announcement.name, announcement.version, announcement.model_sha256)
        if said != (manifest.name, manifest.version, manifest.sha256):
            raise BundleError(
                f"{bundle.folder / MANIFEST_FILE}: it is {manifest.name} {manifest.version} with the model "
                f"{manifest.sha256[:12]}..., announced was {announcement.name} {announcement.version} with "
                f"{announcement.model_sha256[:12]}...; publish it again"
            )
        return bundle


def give_memory_back() -> None:
    """Return what a closed classifier leaves to the system.

    The graph's buffers are freed into glibc's arenas, which keep them: measured over 20 changes of the bundle that
    ships, the process stays 60 MB above its level without this call, and returns to it with it.
    """
    gc.collect()
    if sys.platform == "linux":
        try:
            trim = ctypes.CDLL(None).malloc_trim
        except AttributeError:  # a libc other than glibc
            return
        trim(0)
