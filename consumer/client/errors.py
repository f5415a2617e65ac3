"""What can go wrong while reading results, by what the caller can do about it.

    ReaderError
    +-- KafkaUnavailableError   no broker answered for too long: go on reading later, nothing is lost
    +-- AccessRefusedError      login, TLS or rights: correct the settings
    +-- TopicMissingError       there is no such topic
    +-- PositionLostError       the position to go on from lies outside the topic: an operator decides
    +-- CommitRefusedError      the group gave the partitions to others: they read the same records again
    +-- UnreadableResultError   one record is no result that this version knows; raised again until it is skipped

No message holds text or ids of a customer.
"""


class ReaderError(Exception):
    """Base of every error that the reader raises for what it meets in Kafka."""


class KafkaUnavailableError(ReaderError):
    """No broker answered for longer than `outage_timeout_s`. The reader stays usable."""


class AccessRefusedError(ReaderError):
    """The brokers refuse the login, the encryption or the rights."""


class TopicMissingError(ReaderError):
    """The results topic does not exist."""


class PositionLostError(ReaderError):
    """A stored or committed position lies outside what the topic holds.

    Its records were deleted by retention before they were read, or the topic was made anew.
    """


class CommitRefusedError(ReaderError):
    """The group expelled this member before it committed: others read the records since the last commit again."""


class UnreadableResultError(ReaderError):
    """A record of the topic is no result that this version can read.

    Attributes:
        topic: where it is.
        partition: likewise.
        offset: likewise.
        reason: what is wrong, without any of its content.
    """

    def __init__(self, topic: str, partition: int, offset: int, reason: str) -> None:
        super().__init__(f"{topic}/{partition}@{offset} is unreadable: {reason}")
        self.topic = topic
        self.partition = partition
        self.offset = offset
        self.reason = reason
