"""Files of feedback, line by line in bounded memory: JSON Lines, CSV with a header, plain text.

A line's number is part of its event's id, so it must be the same at every reading of the same bytes: JSON Lines and
text count physical lines (split at LF alone) from 1; CSV counts records, the header being record 1, so that without
line breaks inside cells both agree. Blank lines count and hold nothing.
"""

import csv
import json
from collections.abc import Callable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple, NoReturn

MAX_LINE_BYTES: Final = 4 * 1024 * 1024
"""More than the largest event can take in any of the formats, escapes included."""

_MAX_CELL_CHARS: Final = 1024 * 1024
_BOM: Final = b"\xef\xbb\xbf"


class FileFormat(StrEnum):
    """How a file holds its messages."""

    JSONL = "jsonl"
    CSV = "csv"
    TEXT = "text"


_SUFFIXES: Final = {
    ".jsonl": FileFormat.JSONL,
    ".ndjson": FileFormat.JSONL,
    ".csv": FileFormat.CSV,
    ".txt": FileFormat.TEXT,
    ".text": FileFormat.TEXT,
}


class UnusableFileError(Exception):
    """The file as a whole cannot be imported; the message says why and what to do, without any of its content."""


class Line(NamedTuple):
    """One line or record that is not blank: what it holds, or why it cannot be read.

    Attributes:
        number: from 1, see the module's text.
        end_bytes: where it ends in the file.
        row: the fields, or None when unreadable.
        problem: why, without any of its content, or None.
    """

    number: int
    end_bytes: int
    row: dict[str, Any] | None
    problem: str | None


def format_of(path: Path) -> FileFormat:
    """The format that the suffix stands for.

    Raises:
        UnusableFileError: an unknown suffix.
    """
    try:
        return _SUFFIXES[path.suffix.lower()]
    except KeyError:
        known = ", ".join(_SUFFIXES)
        raise UnusableFileError(
            f"the suffix does not tell the format ({known} do): name it with --format jsonl, csv or text"
        ) from None


def read_lines(file: BinaryIO, file_format: FileFormat) -> Iterator[Line]:
    """Read from the start of `file` to its end.

    Raises:
        UnusableFileError: a CSV file without a usable header; raised at once, before the first line is asked for.
    """
    if file_format is FileFormat.CSV:
        return _csv_records(file)
    return _text_lines(file, _json_row if file_format is FileFormat.JSONL else _text_row)


def _physical_lines(file: BinaryIO) -> Iterator[bytes]:
    """Lines with their ends; one longer than `MAX_LINE_BYTES` is cut just after them."""
    file.seek(0)
    if file.read(len(_BOM)) != _BOM:
        file.seek(0)
    while line := file.readline(MAX_LINE_BYTES + 1):
        if len(line) > MAX_LINE_BYTES:
            rest = line
            while rest and not rest.endswith(b"\n"):
                rest = file.readline(MAX_LINE_BYTES)
        yield line


def _text_lines(file: BinaryIO, to_row: Callable[[str], dict[str, Any]]) -> Iterator[Line]:
    for number, raw in enumerate(_physical_lines(file), start=1):
        row, problem = None, None
        if len(raw) > MAX_LINE_BYTES:
            problem = f"longer than {MAX_LINE_BYTES} bytes"
        else:
            try:
                text = raw.decode().strip("\r\n")
                if not text or text.isspace():
                    continue
                row = to_row(text)
            except UnicodeDecodeError as error:
                problem = f"not UTF-8 at byte {error.start + 1} of the line"
            except RecursionError:
                problem = "nested too deeply"
            except ValueError as error:
                problem = str(error)
        yield Line(number, file.tell(), row, problem)


def _text_row(text: str) -> dict[str, Any]:
    return {"text": text}


def _json_row(text: str) -> dict[str, Any]:
    try:
        row = json.loads(text, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON at character {error.pos + 1}") from None
    if not isinstance(row, dict):
        raise ValueError("not a JSON object")  # noqa: TRY004 (the line is at fault, not the caller)
    return row


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _csv_records(file: BinaryIO) -> Iterator[Line]:
    csv.field_size_limit(_MAX_CELL_CHARS)
    # strict: a stray quote is reported, not guessed at. Bytes that are not UTF-8 survive as lone surrogates, so that
    # they spoil their own record only.
    reader = csv.reader((raw.decode(errors="surrogateescape") for raw in _physical_lines(file)), strict=True)
    return _csv_rows(file, reader, _csv_header(reader))


def _csv_rows(file: BinaryIO, reader: Iterator[list[str]], header: list[str]) -> Iterator[Line]:
    number = 1
    while True:
        number += 1
        row, problem = None, None
        try:
            cells = next(reader)
            if not any(cells):
                continue
            row = _csv_row(header, cells)
        except StopIteration:
            return
        except csv.Error as error:
            problem = f"not CSV: {error}"
        except ValueError as error:
            problem = str(error)
        yield Line(number, file.tell(), row, problem)


def _csv_header(reader: Iterator[list[str]]) -> list[str]:
    try:
        header = [name.strip() for name in next(reader, [])]
    except csv.Error as error:
        raise UnusableFileError(f"the header is not CSV: {error}") from None
    # The names are not quoted in the message: without a header they would be the first customer's words.
    if "text" not in header:
        raise UnusableFileError("the first record names no column `text`: a CSV file needs a header with that column")
    if len(set(header)) < len(header):
        raise UnusableFileError("the header names a column twice, or leaves two without a name")
    return header


def _csv_row(header: list[str], cells: list[str]) -> dict[str, Any]:
    if len(cells) != len(header):
        raise ValueError(f"{len(cells)} cells where the header has {len(header)}")
    try:
        "".join(cells).encode()
    except UnicodeEncodeError:
        raise ValueError("not UTF-8") from None
    return {name: cell for name, cell in zip(header, cells, strict=True) if cell}
