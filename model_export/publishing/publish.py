"""Publishing: check, upload, read back, note, and announce last."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from consumer.inference.bundle import Bundle, load_bundle, require_feedback_heads
from consumer.inference.manifest import BundleError
from model_export.publishing.announcing import announce, bring_in_line
from model_export.publishing.errors import BadRequestError, PublishingError
from model_export.publishing.evidence import compare_with_live, without_texts
from model_export.publishing.history import Entry, current, is_same
from model_export.publishing.progress import Progress
from model_export.publishing.registry import RegistryDatabase
from model_export.publishing.storage import bundle_url, checked_place, upload
from model_export.publishing.topic import ModelTopics
from schemas.announcement import CANARY, LIVE, Announcement, Role


@dataclass(frozen=True, slots=True)
class Request:
    """What to publish. `role` None only uploads. `force` is the reason to announce without a passing comparison."""

    bundle: str
    place: str
    role: Role | None = None
    share: float | None = None
    data: Path | None = None
    force: str | None = None

    def __post_init__(self) -> None:
        if self.share is not None and self.role in {None, LIVE}:
            raise BadRequestError("--share goes with --shadow or --canary: the live bundle sees every event")
        if self.share is not None and not 0 < self.share <= 1:
            raise BadRequestError("--share is a part of all, above 0 and at most 1, such as 0.05")
        if self.role == CANARY and self.share is None:
            raise BadRequestError("--canary needs --share, the part of the keys that it decides, such as 0.05")
        if (self.data is not None or self.force is not None) and self.role != LIVE:
            raise BadRequestError("--data and --force go with --live: only a live bundle takes another one's place")
        if self.force is not None and not self.force.strip():
            raise BadRequestError("--force needs the reason; it is recorded")


@dataclass(frozen=True, slots=True)
class Publication:
    """What was done. `offset` is None where nothing was announced: no role, or it stands announced already."""

    bundle: Bundle
    url: str
    sent_bytes: int
    role: Role | None
    offset: int | None
    replaced: Announcement | None
    comparison: dict[str, Any] | None
    forced: bool


class ComparisonFailedError(PublishingError):
    """The bundle is worse than the live one, or may be."""

    def __init__(self, comparison: dict[str, Any]) -> None:
        self.comparison = comparison
        super().__init__(
            f"not announced, it may not take the live bundle's place: {'; '.join(comparison['reasons'])}; "
            "train it further, or say why it shall nevertheless: --force REASON"
        )


def publish(request: Request, topics: ModelTopics, database: RegistryDatabase, progress: Progress) -> Publication:
    """Publish a bundle. Ended at any point, nothing is announced that is not whole; run again, it finishes.

    Raises:
        BadRequestError: the request makes no sense.
        ComparisonFailedError: the bundle may not take the live one's place.
        PublishingError: the bundle is broken, or a server is away or refuses.
    """
    place = checked_place(request.place)
    progress.begin("checking the bundle")
    try:
        bundle = load_bundle(request.bundle)
        if request.role is not None:
            require_feedback_heads(bundle)
    except BundleError as error:
        raise PublishingError(str(error)) from None
    url = bundle_url(place, bundle)
    database.check()
    if request.role is None:
        sent_bytes = upload(bundle, url, progress)
        with database.opened() as registry:
            registry.record_version(bundle, url)
        return Publication(bundle, url, sent_bytes, None, None, None, None, forced=False)

    wanted = _announcement(request.role, request.share, bundle, url)
    topic, _ = topics.announcements()
    replaced = current(topic, request.role)
    comparison = _judge(request, replaced, bundle, progress)
    sent_bytes = upload(bundle, url, progress)
    progress.begin("announcing")
    with database.locked() as registry:
        registry.record_version(bundle, url)
        standing = bring_in_line(registry, topics)
        found = current(standing.topic, request.role)
        forced = request.force is not None and _takes_a_place(found, bundle) and not _passes(comparison)
        offset = None
        if found is None or not is_same(found, wanted) or found.url != url:
            if found != replaced and request.role == LIVE:
                raise PublishingError(
                    "somebody announced another live bundle meanwhile, with which this one was not compared: "
                    "run the same command again"
                )
            entry = Entry(request.role, wanted, "publish", reason=request.force, forced=forced, comparison=comparison)
            offset = announce(registry, topics, entry)
    return Publication(bundle, url, sent_bytes, request.role, offset, found, comparison, forced)


def _announcement(role: Role, share: float | None, bundle: Bundle, url: str) -> Announcement:
    return Announcement(
        role=role,
        name=bundle.manifest.name,
        version=bundle.manifest.version,
        url=url,
        manifest_sha256=bundle.manifest_sha256,
        model_sha256=bundle.manifest.sha256,
        share=1.0 if share is None else share,
        announced_at=datetime.now(UTC),
    )


def _judge(request: Request, live: Announcement | None, bundle: Bundle, progress: Progress) -> dict[str, Any] | None:
    """The comparison with the live bundle; None where there is nothing to compare with, or it is waived.

    Raises:
        PublishingError: it is needed and does not pass, and nobody said that it may go ahead.
    """
    if request.role != LIVE or live is None or not _takes_a_place(live, bundle):
        return None
    if request.data is None:
        if request.force is not None:
            return None
        raise BadRequestError(
            f"{live.name} {live.version} is live: give --data FILE, labelled rows on which both are compared, or say "
            "why it may go without: --force REASON"
        )
    try:
        comparison = without_texts(compare_with_live(live, bundle, request.data, progress))
    except PublishingError:
        if request.force is None:
            raise
        return None
    if request.force is None and not _passes(comparison):
        raise ComparisonFailedError(comparison)
    return comparison


def _takes_a_place(standing: Announcement | None, bundle: Bundle) -> bool:
    return standing is not None and standing.manifest_sha256 != bundle.manifest_sha256


def _passes(comparison: dict[str, Any] | None) -> bool:
    return comparison is not None and bool(comparison["may_replace"])
