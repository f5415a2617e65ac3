"""The feedback event, version 1: what a service publishes, and what stands after normalisation."""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    WithJsonSchema,
)

Flag = Literal[
    "id_derived",
    "text_truncated",
    "text_cleaned",
    "value_cleaned",
    "value_bounded",
    "nesting_bounded",
    "occurred_at_future",
    "occurred_at_past",
]
"""What normalisation changed or noticed.

`id_derived`: there was no event_id. `text_truncated`: the text was cut at the limit. `text_cleaned` and
`value_cleaned`: NUL characters, lone surrogates or non-finite numbers were replaced in the text or in another value.
`value_bounded`: a string, number or collection outside the limits was cut or turned into a string.
`nesting_bounded`: nesting beyond the limit was replaced by null. `occurred_at_future`, `occurred_at_past`: the
time lies implausibly far away; it is kept as sent.
"""

MAX_TEXT_CHARS = 20_000
MAX_SOURCE_CHARS = 64
MAX_REFERENCE_CHARS = 256
MAX_LANGUAGE_CHARS = 35
MAX_METADATA_ENTRIES = 100

MetadataValue = str | int | float | bool | None


def _refuse_numbers(value: object) -> object:
    # pydantic would read a bare number as seconds or milliseconds since 1970, by its size: a guess.
    if isinstance(value, int | float):
        raise ValueError("must be a string in RFC 3339, such as 2026-01-31T09:30:00Z")  # noqa: TRY004 (pydantic turns only ValueError into a validation error)
    return value


def _to_utc(at: datetime) -> datetime:
    try:
        return at.astimezone(UTC)
    except OverflowError:
        raise ValueError("lies outside the years 1 to 9999 in UTC") from None


UtcDatetime = Annotated[
    AwareDatetime,
    BeforeValidator(_refuse_numbers),
    AfterValidator(_to_utc),
    PlainSerializer(lambda at: at.isoformat().replace("+00:00", "Z"), return_type=str, when_used="json"),
    # The serialiser would leave a bare string in the contract.
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
"""An instant, held in UTC. On the wire RFC 3339 with an offset; written with a `Z`."""


class FeedbackEvent(BaseModel):
    """One message of a customer, as a service publishes it to `feedback.events`.

    `event_id` is the idempotency key: the same id with the same content is stored once. Leave it out only where the
    publisher cannot make one: the consumer then derives it from the record's coordinates, and a publisher's retry
    makes a second event. Fields that this version does not name are kept, and stored under `extra`.
    """

    model_config = ConfigDict(extra="allow", hide_input_in_errors=True, title="FeedbackEvent")

    event_id: UUID | None = Field(default=None, description="Idempotency key; UUIDv7 recommended.")
    occurred_at: UtcDatetime = Field(description="When the customer wrote it, RFC 3339 with an offset.")
    source: str = Field(
        min_length=1, max_length=MAX_SOURCE_CHARS, description="Channel: app_store, web, email, survey, ..."
    )
    text: str = Field(
        min_length=1,
        pattern=r"\S",
        description=f"The message. The consumer stores at most the first {MAX_TEXT_CHARS} characters.",
    )
    rating: int | None = Field(default=None, ge=1, le=5, description="Stars, where the channel has them.")
    customer_id: str | None = Field(
        default=None, min_length=1, max_length=MAX_REFERENCE_CHARS, description="Pseudonymous customer reference."
    )
    product: str | None = Field(
        default=None, min_length=1, max_length=MAX_REFERENCE_CHARS, description="What the message is about."
    )
    language: str | None = Field(
        default=None, min_length=2, max_length=MAX_LANGUAGE_CHARS, description="BCP 47 language tag."
    )
    metadata: dict[str, MetadataValue] = Field(
        default_factory=dict, max_length=MAX_METADATA_ENTRIES, description="A flat map of the publisher's own values."
    )


class NormalisedEvent(BaseModel):
    """An event as it was classified and stored: every value bounded, unknown fields under `extra`."""

    model_config = ConfigDict(hide_input_in_errors=True)

    event_id: UUID = Field(description="The publisher's, or derived from the record's coordinates or its envelope.")
    occurred_at: UtcDatetime = Field(description="In UTC, with a Z.")
    source: str = Field(description="Channel.")
    text: str = Field(description=f"The message, cleaned, at most {MAX_TEXT_CHARS} characters.")
    rating: int | None = Field(description="1 to 5 stars.")
    customer_id: str | None = Field(description="Pseudonymous customer reference.")
    product: str | None = Field(description="What the message is about.")
    language: str | None = Field(description="BCP 47 language tag, as the publisher gave it.")
    metadata: dict[str, MetadataValue] = Field(description="The publisher's own values.")
    extra: dict[str, Any] = Field(description="Fields that the event's contract does not name.")
    flags: list[Flag] = Field(description="What normalisation changed or noticed.")


def utc_now() -> datetime:
    """The current time with its zone."""
    return datetime.now(UTC)
