"""Records as they enter and leave the consumer. Their `repr` shows coordinates only: the rest is a customer's."""

from dataclasses import dataclass

Headers = tuple[tuple[str, bytes | None], ...]


@dataclass(frozen=True, slots=True, repr=False)
class SourceRecord:
    """One record of the events topic.

    `timestamp_ms` is Kafka's, in milliseconds since 1970. `epoch` names the assignment of its partition under which it
    was read: after the partition went away and came back, records of the earlier epoch must not be committed.
    """

    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    epoch: int

    @property
    def size_bytes(self) -> int:
        """Bytes of key and value, as a bound on what holding the record costs."""
        return len(self.key or b"") + len(self.value or b"")

    def header(self, name: str) -> bytes | None:
        """The last header of that name, as Kafka's own clients read them; None where there is none."""
        return next((value for key, value in reversed(self.headers) if key == name), None)

    def __repr__(self) -> str:
        return f"SourceRecord({self.partition}@{self.offset})"


@dataclass(frozen=True, slots=True, repr=False)
class OutboundRecord:
    """One record to produce."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers

    @property
    def size_bytes(self) -> int:
        """Upper bound of the record's size on the wire: key, value, headers, and room for lengths and offsets."""
        headers = sum(len(name) + len(value or b"") + 10 for name, value in self.headers)
        return len(self.key or b"") + len(self.value or b"") + headers + 128

    def __repr__(self) -> str:
        return f"OutboundRecord({self.topic}, {self.size_bytes} bytes)"
