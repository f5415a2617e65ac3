"""Publish feedback from a service: copy this, change `event`.

Run it with KAFKA_BOOTSTRAP_SERVERS set; KAFKA_SECURITY_PROTOCOL, KAFKA_SASL_USERNAME and so on where there is a login.
"""

from datetime import UTC, datetime

from producer.client import FeedbackPublisher
from producer.errors import OutcomeUnknownError

event = {
    "source": "web",
    "occurred_at": datetime.now(UTC),
    "text": "The export button does nothing since the last update.",
    "rating": 2,
    "customer_id": "customer-4711",
    "metadata": {"plan": "pro"},
}
# One publisher serves the whole process; leaving the block waits for what is still queued.
with FeedbackPublisher() as publisher:
    publisher.check()
    receipt = publisher.publish(event)
    try:
        delivery = receipt.result(timeout=130)
    except OutcomeUnknownError as error:
        # Safe even if the first copy was stored after all: the same event with the same event_id counts once.
        delivery = publisher.publish({**event, "event_id": error.event_id}).result(timeout=130)
    print(f"{delivery.event_id} is at {delivery.topic}/{delivery.partition}@{delivery.offset}")
