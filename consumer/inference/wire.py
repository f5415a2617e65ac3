"""Protobuf's wire format, read strictly: only fields that are listed, each in its one form.

The runtime has no `onnx` package, and a generated parser would pass over what it does not know. See
https://protobuf.dev/programming-guides/encoding/.
"""

from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Final

_VARINT: Final = 0
_FIXED64: Final = 1
_BYTES: Final = 2
_FIXED32: Final = 5
_MAX_VARINT_BYTES: Final = 10
_MAX_FIELD_NUMBER: Final = 2**29 - 1


class Kind(Enum):
    """How a field of a message is written."""

    INTEGER = "integer"
    INTEGERS = "integers, one by one or packed"
    FLOAT = "float"
    FLOATS = "floats, one by one or packed"
    DOUBLES = "doubles, one by one or packed"
    ONCE = "bytes, text or a message, at most once"
    MANY = "bytes, texts or messages"


_WIRE_TYPES: Final = {
    Kind.INTEGER: (_VARINT,),
    Kind.INTEGERS: (_VARINT, _BYTES),
    Kind.FLOAT: (_FIXED32,),
    Kind.FLOATS: (_FIXED32, _BYTES),
    Kind.DOUBLES: (_FIXED64, _BYTES),
    Kind.ONCE: (_BYTES,),
    Kind.MANY: (_BYTES,),
}
_SINGLE: Final = frozenset({Kind.INTEGER, Kind.FLOAT, Kind.ONCE})
_FIXED_BYTES: Final = {_FIXED64: 8, _FIXED32: 4}


class WireError(ValueError):
    """The bytes are no such message; the message says why."""


def fields(message: memoryview, known: Mapping[int, Kind]) -> Iterator[tuple[int, int | memoryview]]:
    """The fields of one message in their order: number and value.

    A value is an integer for a varint, else the bytes. Nothing is copied. A field that stands twice where once is
    right is refused: parsers disagree about which one counts.

    Raises:
        WireError: the message is cut off, or holds a field that is not known, in another form, or once too often.
    """
    seen: set[int] = set()
    position = 0
    while position < len(message):
        key, position = _varint(message, position)
        number, wire_type = key >> 3, key & 7
        kind = known.get(number)
        if kind is None or number > _MAX_FIELD_NUMBER:
            raise WireError(f"field {number} has no place here")
        if wire_type not in _WIRE_TYPES[kind]:
            raise WireError(f"field {number} is not written as {kind.value}")
        if kind in _SINGLE:
            if number in seen:
                raise WireError(f"field {number} stands twice")
            seen.add(number)
        if wire_type == _VARINT:
            value, position = _varint(message, position)
            yield number, value
            continue
        if wire_type == _BYTES:
            size, position = _varint(message, position)
        else:
            size = _FIXED_BYTES[wire_type]
        if size > len(message) - position:
            raise WireError(f"field {number} ends after the message that it is in")
        yield number, message[position : position + size]
        position += size


def gathered(message: memoryview, known: Mapping[int, Kind]) -> dict[int, list[int | memoryview]]:
    """The fields of a small message by their number, each with its values in order.

    Raises:
        WireError: as `fields`.
    """
    found: dict[int, list[int | memoryview]] = {}
    for number, value in fields(message, known):
        found.setdefault(number, []).append(value)
    return found


def integers(value: int | memoryview) -> Iterator[int]:
    """The varints of a field of `Kind.INTEGERS`, as unsigned 64-bit numbers.

    Raises:
        WireError: the last one is cut off.
    """
    if isinstance(value, int):
        yield value
        return
    position = 0
    while position < len(value):
        number, position = _varint(value, position)
        yield number


def count_integers(value: int | memoryview) -> int:
    """How many varints a field of `Kind.INTEGERS` holds: each ends with its one byte below 128."""
    if isinstance(value, int):
        return 1
    return len(bytes(value).translate(None, _CONTINUED))


_CONTINUED: Final = bytes(range(128, 256))


def _varint(message: memoryview, position: int) -> tuple[int, int]:
    value = 0
    for index, byte in enumerate(message[position : position + _MAX_VARINT_BYTES]):
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:  # noqa: PLR2004 - the bit that says whether more bytes follow
            return value & (2**64 - 1), position + index + 1
    raise WireError("a number is cut off")
