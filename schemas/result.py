"""The classified record, version 1: what subscribers of `feedback.classified` receive."""

from typing import Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from schemas.event import NormalisedEvent, UtcDatetime
from schemas.labels import Category, Constructive, Sentiment

Probability = float
Priority = Literal["low", "normal", "high", "urgent"]


class SentimentVerdict(BaseModel):
    """The writer's tone. `score` is the probability of `label`; `scores` holds all three."""

    label: Sentiment = Field(description="The most probable one.")
    score: Probability = Field(description="Its probability, 0 to 1.")
    scores: dict[Sentiment, Probability] = Field(description="The probability of each label; together they make 1.")


class CategoryVerdict(BaseModel):
    """What the message asks its receiver to do. `scores` holds all eight."""

    label: Category = Field(description="The most probable one.")
    score: Probability = Field(description="Its probability, 0 to 1.")
    scores: dict[Category, Probability] = Field(description="The probability of each label; together they make 1.")


class ConstructiveVerdict(BaseModel):
    """Whether the message holds a suggestion that its receiver could act on."""

    label: Constructive = Field(description="The most probable one.")
    score: Probability = Field(description="Its probability, 0 to 1.")
    scores: dict[Constructive, Probability] = Field(description="The probability of each label; together they make 1.")


class Routing(BaseModel):
    """Where the message should go, by the consumer's policy file."""

    queue: str = Field(description="Name of the queue, from the policy file.")
    priority: Priority = Field(description="How soon somebody should look.")
    suggested_reply: str | None = Field(description="Text to begin a reply with.")


class ModelReference(BaseModel):
    """The bundle that decided. `sha256` is that of its ONNX graph."""

    model_config = ConfigDict(protected_namespaces=())

    name: str = Field(description="Name of the bundle.")
    version: str = Field(description="Its version.")
    sha256: str = Field(description="Of its ONNX graph, in hexadecimal.")


class SourceCoordinates(BaseModel):
    """The record that this result answers. `topic_id` tells a re-created topic from the one before it."""

    topic: str = Field(description="Name of the topic.")
    topic_id: UUID = Field(description="Kafka's id of it.")
    partition: int = Field(description="From 0.")
    offset: int = Field(description="From 0.")


class ClassifiedFeedback(BaseModel):
    """One event with its verdicts. One is visible (read_committed) for each distinct `event.event_id`."""

    model_config = ConfigDict(hide_input_in_errors=True, title="ClassifiedFeedback")

    event: NormalisedEvent
    sentiment: SentimentVerdict
    category: CategoryVerdict
    constructive: ConstructiveVerdict
    needs_review: bool = Field(
        description="A person should look: the model is unsure, or the text is in another script than Latin."
    )
    routing: Routing
    model: ModelReference
    revision: int = Field(ge=1, description="1 at first; later re-classifications count up.")
    classified_at: UtcDatetime = Field(description="When the model decided, in UTC, with a Z.")
    latency_ms: float = Field(description="From the Kafka record's timestamp to classified_at.")
    source: SourceCoordinates
    traceparent: str | None = Field(description="W3C trace context of the event, where it had one.")
