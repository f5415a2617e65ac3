"""For services that act on classified feedback: a typed reader of `feedback.classified`.

Needs the plain install only: nothing here imports the model, the database or the stream processor.
"""

import logging

from consumer.client.errors import (
    AccessRefusedError,
    CommitRefusedError,
    KafkaUnavailableError,
    PositionLostError,
    ReaderError,
    TopicMissingError,
    UnreadableResultError,
)
from consumer.client.filters import ResultFilter
from consumer.client.reader import ClassifiedFeedbackReader
from consumer.client.records import ResultRecord

__all__ = [
    "AccessRefusedError",
    "ClassifiedFeedbackReader",
    "CommitRefusedError",
    "KafkaUnavailableError",
    "PositionLostError",
    "ReaderError",
    "ResultFilter",
    "ResultRecord",
    "TopicMissingError",
    "UnreadableResultError",
]

# A library is silent until its application sets logging up; what matters is raised.
logging.getLogger(__name__).addHandler(logging.NullHandler())
