"""What became of an announced bundle, told three times: in the log, as metrics, and on the topic of reports."""

import structlog

from consumer.errors import ConsumerError
from consumer.inference.bundle import Bundle
from consumer.inference.manifest import BundleError
from consumer.metrics import Metrics
from consumer.models.announcements import Announced
from consumer.models.reports import Reporter
from schemas.announcement import Role

log = structlog.get_logger(__name__)


class Tidings:
    """Tells operators about the bundles of one consumer."""

    def __init__(self, metrics: Metrics, reporter: Reporter) -> None:
        self._metrics = metrics
        self._reporter = reporter

    def serves(self, role: Role, bundle: Bundle, announced: Announced | None, seconds: float | None) -> None:
        """A bundle serves; `seconds` is how long it took from the announcement, None for one that did before."""
        manifest = bundle.manifest
        if seconds is not None:
            self._metrics.model_changes.labels(role, "serving").inc()
        self._metrics.describe_model(role, manifest)
        self._metrics.model_refused.labels(role).set(0)
        log.info(
            "model_serves",
            role=role,
            name=manifest.name,
            version=manifest.version,
            announced=announced is not None and announced.announcement is not None,
            seconds=None if seconds is None else round(seconds, 2),
        )
        self._reporter.report(
            role,
            "serving",
            name=manifest.name,
            version=manifest.version,
            manifest_sha256=bundle.manifest_sha256,
            announcement_offset=None if announced is None else announced.offset,
        )

    def refused(self, announced: Announced, error: BaseException, still: Bundle | None) -> None:
        """A bundle cannot be used; what served before, `still`, goes on."""
        role, wanted = announced.role, announced.announcement
        goes_on = "nothing" if still is None else f"{still.manifest.name} {still.manifest.version}"
        # Messages of our own hold no secrets; those of libraries may.
        known = isinstance(error, BundleError | ConsumerError)
        reason = f"{error if known else type(error).__name__}; {goes_on} serves"
        self._metrics.model_changes.labels(role, "refused").inc()
        self._metrics.model_refused.labels(role).set(1)
        version = "configured" if wanted is None else wanted.version
        log.error("model_refused", role=role, version=version, offset=announced.offset, reason=reason)
        if wanted is not None:
            self._reporter.report(
                role,
                "refused",
                name=wanted.name,
                version=wanted.version,
                manifest_sha256=wanted.manifest_sha256,
                announcement_offset=announced.offset,
                reason=reason,
            )

    def superseded(self, announced: Announced) -> None:
        """Something else was announced while a bundle was loaded."""
        self._metrics.model_changes.labels(announced.role, "superseded").inc()
        log.info("model_superseded", role=announced.role, offset=announced.offset)

    def ended(self, role: Role, bundle: Bundle, announced: Announced | None, fault: str | None) -> None:
        """A shadow or canary was withdrawn, or taken out because of a fault."""
        manifest = bundle.manifest
        self._metrics.model_changes.labels(role, "withdrawn" if fault is None else "failed").inc()
        self._metrics.describe_model(role, None)
        self._metrics.model_refused.labels(role).set(fault is not None)
        if fault is None:
            log.info("model_withdrawn", role=role, version=manifest.version)
        else:
            log.error("model_failed", role=role, version=manifest.version, reason=fault)
        self._reporter.report(
            role,
            "withdrawn" if fault is None else "refused",
            name=manifest.name,
            version=manifest.version,
            manifest_sha256=bundle.manifest_sha256,
            announcement_offset=None if announced is None else announced.offset,
            reason=fault,
        )

    def poll(self) -> None:
        """Let the client tell which reports could not be sent."""
        self._reporter.poll()

    def close(self) -> None:
        """Send the last reports, for a second at most."""
        self._reporter.close()

    def idle(self, role: Role) -> None:
        """A shadow or canary that was refused is not wanted any more."""
        self._metrics.model_refused.labels(role).set(0)
