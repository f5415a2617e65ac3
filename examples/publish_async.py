"""Publish feedback from an asyncio program: copy this, change `event`.

Run it with KAFKA_BOOTSTRAP_SERVERS set; KAFKA_SECURITY_PROTOCOL, KAFKA_SASL_USERNAME and so on where there is a login.
"""

import asyncio
from datetime import UTC, datetime

from producer.aio import AsyncFeedbackPublisher
from producer.delivery import Delivery
from producer.errors import OutcomeUnknownError

event = {
    "source": "web",
    "occurred_at": datetime.now(UTC),
    "text": "The export button does nothing since the last update.",
    "customer_id": "customer-4711",
}


async def main() -> None:
    """Publish one event and wait, then queue some and look at their outcomes later."""
    # One publisher serves the whole program; leaving the block waits for what is still queued.
    async with AsyncFeedbackPublisher() as publisher:
        await publisher.check()
        try:
            delivery = await publisher.publish(event)
        except OutcomeUnknownError as error:
            # Safe even if the first copy was stored after all: the same event with the same event_id counts once.
            delivery = await publisher.publish({**event, "event_id": error.event_id})
        show(delivery)

        receipts = [await publisher.enqueue({**event, "text": f"Suggestion {number}"}) for number in range(3)]
        for receipt in receipts:
            show(await receipt)


def show(delivery: Delivery) -> None:
    """Print where Kafka stored an event."""
    print(f"{delivery.event_id} is at {delivery.topic}/{delivery.partition}@{delivery.offset}")


if __name__ == "__main__":
    asyncio.run(main())
