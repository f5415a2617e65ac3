"""How a missing right is told: which one, and on what."""

from typing import Final

from confluent_kafka import KafkaError, KafkaException

_REMEDY: Final = "`python -m schemas access show` lists the rights of each role, whoever runs Kafka gives them"

_DENIED: Final = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED: "topic",
    KafkaError.GROUP_AUTHORIZATION_FAILED: "group",
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED: "transactional-id",
}


def missing_right(operation: str, resource: str, name: str) -> str:
    """One line: the operation as Kafka calls it, on a topic, a group or a transactional-id."""
    return f"the right to {operation} is missing on {resource} {name}: {_REMEDY}"


def fatal_error(raised: BaseException) -> KafkaError | None:
    """The error that ended a producer for good, of what confluent-kafka raised in the middle of its callbacks."""
    # A callback that was about to run makes a SystemError of it.
    failure = raised.__cause__ if isinstance(raised, SystemError) else raised
    return failure.args[0] if isinstance(failure, KafkaException) else None


def missing_right_of_producer(error: KafkaError, topic: str) -> str | None:
    """The line for what keeps an idempotent producer from its topic; None for an error of another kind."""
    # Kafka gives a producer id to whoever may write to any topic.
    if error.code() in {KafkaError.CLUSTER_AUTHORIZATION_FAILED, KafkaError.TOPIC_AUTHORIZATION_FAILED}:
        return missing_right("Write", "topic", topic)
    return None


def denied(error: KafkaError, **names: tuple[str, str]) -> str | None:
    """The line for a broker's refusal; None where the error is of another kind, or it is not known what it is about.

    Args:
        error: what librdkafka told: it seldom says on what.
        names: the operation and the name of the `topic`, `group` or `transactional_id` that this client needs.
    """
    resource = _DENIED.get(error.code())
    needed = None if resource is None else names.get(resource.replace("-", "_"))
    return None if resource is None or needed is None else missing_right(needed[0], resource, needed[1])
