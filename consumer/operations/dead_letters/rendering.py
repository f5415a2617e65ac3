"""A customer's bytes on an operator's terminal: everything that a terminal would act on is written out."""

from collections.abc import Iterator
from typing import Final

_HEX_LINE_BYTES: Final = 16
_ASCII: Final = range(0x20, 0x7F)


def printable(text: str) -> str:
    """The text with each character that is not visible as its code point, such as `<U+001B>`.

    These are Unicode's categories Other (controls, terminal escapes, bidirectional overrides, zero-width characters,
    surrogates) and Separator without the space (Unicode Standard, section 4.5; `str.isprintable`).
    """
    return "".join(char if char.isprintable() else f"<U+{ord(char):04X}>" for char in text)


def is_text(data: bytes) -> bool:
    """Whether the bytes are UTF-8 that is mostly visible: worth reading as text."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return False
    hidden = sum(not char.isprintable() and char not in "\n\r\t" for char in text)
    return hidden * 10 <= len(text)


def rendered(data: bytes, max_bytes: int | None) -> Iterator[str]:
    """Lines that are safe to print: text as text, anything else as a hex dump, the rest beyond `max_bytes` counted."""
    shown = data if max_bytes is None else data[:max_bytes]
    if is_text(data):
        # A character may have been cut in two.
        for line in shown.decode(errors="ignore").split("\n"):
            yield printable(line)
    else:
        yield from hex_dump(shown)
    if len(shown) < len(data):
        yield f"... {len(data) - len(shown):,} more bytes: --full shows them, --save FILE writes them all"


def hex_dump(data: bytes) -> Iterator[str]:
    """Offset, bytes in hexadecimal and as ASCII, 16 to a line, as `hexdump -C` shows them."""
    for begin in range(0, len(data), _HEX_LINE_BYTES):
        line = data[begin : begin + _HEX_LINE_BYTES]
        text = "".join(chr(byte) if byte in _ASCII else "." for byte in line)
        yield f"{begin:08x}  {line.hex(' '):<{_HEX_LINE_BYTES * 3}} |{text}|"
