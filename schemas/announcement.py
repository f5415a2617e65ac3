"""Which bundles consumers run: announcements on the topic `feedback.models`, and what consumers report back."""

from typing import Annotated, Final, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from schemas.event import UtcDatetime

Role = Literal["live", "shadow", "canary"]
"""What a bundle is announced for; the key of its record, so that compaction keeps the newest of each role.

`live` classifies what goes out. `shadow` classifies a share of the events beside it, and nothing of it goes out.
`canary` classifies the events of a share of the keys instead of the live bundle.
"""

ReportState = Literal["serving", "refused", "withdrawn"]

LIVE: Final[Role] = "live"
SHADOW: Final[Role] = "shadow"
CANARY: Final[Role] = "canary"

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
# Both are shown to operators, in logs, metrics and lists.
ModelName = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9._-]+$")]
ModelVersion = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9._+-]+$")]


class _Contract(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True, protected_namespaces=())


class Announcement(_Contract):
    """The value of a record of `feedback.models`; its key is the role. A null value withdraws the role's bundle.

    `manifest_sha256` pins the bundle: the manifest holds the sha256 of every other file. `share` is the share of events
    (shadow) or of keys (canary) that the bundle sees, 1 for live.
    """

    role: Role
    name: ModelName
    version: ModelVersion
    url: str = Field(max_length=2_000)
    manifest_sha256: Sha256
    model_sha256: Sha256
    share: float = Field(default=1.0, gt=0, le=1)
    announced_at: UtcDatetime

    @model_validator(mode="after")
    def _live_is_whole(self) -> Self:
        if self.role == LIVE and self.share != 1.0:
            raise ValueError("the live bundle sees every event: share must be 1")
        return self


class NoAnnouncementError(ValueError):
    """A record of `feedback.models` announces nothing; `reason` is a short stable name for it."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def read_announcement(key: str | bytes | None, value: str | bytes | None) -> tuple[Role, Announcement | None]:
    """What a record of `feedback.models` announces; without an announcement it withdraws the role.

    Raises:
        NoAnnouncementError: an unknown role, a value that is no announcement, or one of another role than its key.
    """
    role = next((role for role in get_args(Role) if key in {role, role.encode()}), None)
    if role is None:
        raise NoAnnouncementError("unknown_role")
    if value is None:
        return role, None
    try:
        announcement = Announcement.model_validate_json(value)
    except ValidationError:
        raise NoAnnouncementError("not_an_announcement") from None
    if announcement.role != role:
        raise NoAnnouncementError("key_is_another_role")
    return role, announcement


class ModelReport(_Contract):
    """The value of a record of `feedback.models.status`; its key is `GROUP/REPLICA/ROLE`.

    `reason` says in one line why a bundle was refused, without secrets. `announcement_offset` is the offset of the
    announcement that is answered; null for the bundle that a consumer started with from its settings.
    """

    role: Role
    group_id: str
    replica_id: str
    state: ReportState
    name: str
    version: str
    manifest_sha256: Sha256
    announcement_offset: int | None = None
    reason: str | None = None
    app_version: str
    reported_at: UtcDatetime
