"""The rules by which a change is judged: whom it breaks, and why. docs/compatibility.md explains them.

A publisher breaks when a record that was accepted no longer is, a reader when a record may come that never could.
"""

from dataclasses import dataclass
from typing import Final, Literal

Audience = Literal["publishers", "readers"]
"""Publishers write what the stream receives; readers read what it sends."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One kind of change. `reasons` say what it means for each audience."""

    name: str
    breaks: frozenset[Audience]
    reasons: tuple[tuple[Audience, str], ...]

    def reason(self, audience: Audience) -> str:
        """What the change means for these."""
        return dict(self.reasons)[audience]


@dataclass(frozen=True, slots=True)
class Change:
    """One difference between two schemas or topics; `before` and `after` are written for people."""

    where: str
    rule: Rule
    before: str
    after: str


RULES: Final[dict[str, Rule]] = {}


def _rule(name: str, breaks: tuple[Audience, ...], *, publishers: str, readers: str) -> Rule:
    rule = Rule(name, frozenset(breaks), (("publishers", publishers), ("readers", readers)))
    RULES[name] = rule
    return rule


_NOBODY: Final[tuple[Audience, ...]] = ()
_PUBLISHERS: Final[tuple[Audience, ...]] = ("publishers",)
_READERS: Final[tuple[Audience, ...]] = ("readers",)
_BOTH: Final[tuple[Audience, ...]] = ("publishers", "readers")

FIELD_ADDED: Final = _rule(
    "field-added", _NOBODY, publishers="it may be left out", readers="fields that are not known are passed over"
)
FIELD_ADDED_TO_CLOSED: Final = _rule(
    "field-added-to-closed",
    _READERS,
    publishers="it may be left out",
    readers="they were told that no further field comes",
)
FIELD_REMOVED: Final = _rule(
    "field-removed", _BOTH, publishers="what they send in it is not used", readers="it does not come any more"
)
FIELD_REQUIRED: Final = _rule(
    "field-required", _PUBLISHERS, publishers="a record without it is refused", readers="it always comes"
)
FIELD_OPTIONAL: Final = _rule(
    "field-optional", _READERS, publishers="they may go on sending it", readers="it may be missing"
)
TYPE_REMOVED: Final = _rule(
    "type-removed", _PUBLISHERS, publishers="a type that was taken is refused", readers="fewer types come"
)
TYPE_ADDED: Final = _rule(
    "type-added", _READERS, publishers="more types are taken", readers="a type comes that they do not expect"
)
VALUE_REMOVED: Final = _rule(
    "value-removed", _PUBLISHERS, publishers="a value that was taken is refused", readers="fewer values come"
)
VALUE_ADDED: Final = _rule(
    "value-added", _READERS, publishers="more values are taken", readers="a value comes that they do not know"
)
LIMIT_TIGHTENED: Final = _rule(
    "limit-tightened",
    _PUBLISHERS,
    publishers="what lies beyond the new limit is refused",
    readers="what comes stays within the old limit",
)
LIMIT_LOOSENED: Final = _rule(
    "limit-loosened", _READERS, publishers="more is taken", readers="more may come than they have room for"
)
FORM_ADDED: Final = _rule(
    "form-added", _PUBLISHERS, publishers="another form is refused", readers="what comes has a form"
)
FORM_REMOVED: Final = _rule(
    "form-removed", _READERS, publishers="any form is taken", readers="they parse by a form that is gone"
)
FORM_CHANGED: Final = _rule(
    "form-changed", _BOTH, publishers="the old form may be refused", readers="they parse by the old form"
)
UNKNOWN_REFUSED: Final = _rule(
    "unknown-refused",
    _PUBLISHERS,
    publishers="a record with fields of their own is refused",
    readers="no field comes that is not named",
)
UNKNOWN_ALLOWED: Final = _rule(
    "unknown-allowed",
    _READERS,
    publishers="fields of their own are taken",
    readers="they were told that no further field comes",
)
DEFAULT_CHANGED: Final = _rule(
    "default-changed",
    _PUBLISHERS,
    publishers="leaving the field out means something else",
    readers="what comes is written out",
)
UNJUDGED: Final = _rule(
    "unjudged", _BOTH, publishers="no rule covers it: it counts", readers="no rule covers it: it counts"
)

TOPIC_ADDED: Final = _rule("topic-added", _NOBODY, publishers="nobody uses it yet", readers="nobody uses it yet")
TOPIC_REMOVED: Final = _rule(
    "topic-removed", _BOTH, publishers="what they send is not read", readers="nothing comes any more"
)
TOPIC_RENAMED: Final = _rule(
    "topic-renamed", _BOTH, publishers="what they send is not read", readers="nothing comes any more"
)
MESSAGE_ADDED: Final = _rule(
    "message-added",
    _READERS,
    publishers="one more kind of record is taken",
    readers="a kind of record comes that they do not know",
)
MESSAGE_REMOVED: Final = _rule(
    "message-removed",
    _BOTH,
    publishers="this kind of record is refused",
    readers="this kind of record does not come any more",
)
MEDIA_TYPE_CHANGED: Final = _rule(
    "media-type-changed", _BOTH, publishers="the value is read in another way", readers="they cannot read the value"
)
PARTITIONS_CHANGED: Final = _rule(
    "partitions-changed",
    _BOTH,
    publishers="keys move to other partitions: their order breaks there",
    readers="keys move to other partitions: their order breaks there",
)
REPLICAS_LOWERED: Final = _rule(
    "replicas-lowered",
    _BOTH,
    publishers="fewer failures of brokers are survived",
    readers="fewer failures of brokers are survived",
)
REPLICAS_RAISED: Final = _rule(
    "replicas-raised",
    _NOBODY,
    publishers="more failures of brokers are survived",
    readers="more failures of brokers are survived",
)
RECORD_SIZE_LOWERED: Final = _rule(
    "record-size-lowered",
    _BOTH,
    publishers="a record that fitted is refused",
    readers="what does not fit becomes a dead letter instead",
)
RECORD_SIZE_RAISED: Final = _rule(
    "record-size-raised",
    _NOBODY,
    publishers="larger records are taken",
    readers="a client fetches a record of any size, alone if need be",
)
RETENTION_SHORTENED: Final = _rule(
    "retention-shortened",
    _BOTH,
    publishers="the stream may be away for less time",
    readers="whoever is away for longer misses records",
)
RETENTION_EXTENDED: Final = _rule(
    "retention-extended", _NOBODY, publishers="records stay for longer", readers="records stay for longer"
)
CLEANUP_CHANGED: Final = _rule(
    "cleanup-changed", _BOTH, publishers="other records are kept", readers="other records are kept"
)
TOPIC_SETTING_CHANGED: Final = _rule(
    "topic-setting-changed", _BOTH, publishers="no rule covers it: it counts", readers="no rule covers it: it counts"
)
