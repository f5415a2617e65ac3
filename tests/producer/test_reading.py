"""What each line of a file becomes: numbers and content that a user can check against the file in an editor."""

import io
from pathlib import Path

import pytest

from producer.files.reading import MAX_LINE_BYTES, FileFormat, Line, UnusableFileError, format_of, read_lines


def lines_of(content: bytes, file_format: FileFormat) -> list[Line]:
    return list(read_lines(io.BytesIO(content), file_format))


def summary(lines: list[Line]) -> list[tuple[int, object]]:
    return [(line.number, line.problem if line.row is None else line.row) for line in lines]


def test_jsonl_reports_each_kind_of_bad_line_and_reads_on() -> None:
    content = (
        b'\xef\xbb\xbf{"text":"one"}\r\n'
        b"\n"
        b'{"text":"unfinished\n'
        b"[1]\n"
        b'{"text":"caf\xe9"}\n'
        b'{"text":"x","score":NaN}\n' + b'{"a":' * 5000 + b"\n"
        b'{"text":"line\xe2\x80\xa8separator"}'
    )
    assert summary(lines_of(content, FileFormat.JSONL)) == [
        (1, {"text": "one"}),
        (3, "not JSON at character 9"),
        (4, "not a JSON object"),
        (5, "not UTF-8 at byte 13 of the line"),
        (6, "NaN is not JSON"),
        (7, "nested too deeply"),
        (8, {"text": "line\u2028separator"}),
    ]


def test_a_line_without_end_is_skipped_in_bounded_memory() -> None:
    content = b'{"text":"' + b"x" * (MAX_LINE_BYTES * 2) + b'"}\n{"text":"next"}\n'
    first, second = lines_of(content, FileFormat.JSONL)
    assert first.problem == f"longer than {MAX_LINE_BYTES} bytes"
    assert (second.number, second.row, second.end_bytes) == (2, {"text": "next"}, len(content))


def test_text_takes_one_message_a_line() -> None:
    assert summary(lines_of(b"  first\r\n \t\r\nlast", FileFormat.TEXT)) == [
        (1, {"text": "  first"}),
        (3, {"text": "last"}),
    ]


def test_csv_counts_records_and_leaves_empty_cells_out() -> None:
    content = (
        b'text,rating,branch\n"two\nlines, ""quoted""",4,x\n\nok,,\n'
        b'short,1\n"bad"quote,1,x\ncaf\xe9,1,x\nlast,5,y\n"never closed,1,x\n'
    )
    assert summary(lines_of(content, FileFormat.CSV)) == [
        (2, {"text": 'two\nlines, "quoted"', "rating": "4", "branch": "x"}),
        (4, {"text": "ok"}),
        (5, "2 cells where the header has 3"),
        (6, "not CSV: ',' expected after '\"'"),
        (7, "not UTF-8"),
        (8, {"text": "last", "rating": "5", "branch": "y"}),
        (9, "not CSV: unexpected end of data"),
    ]


@pytest.mark.parametrize("content", [b"", b"I love the new screen,5\n", b"text,text\n"])
def test_csv_without_a_usable_header_is_refused_without_quoting_it(content: bytes) -> None:
    with pytest.raises(UnusableFileError) as refused:
        read_lines(io.BytesIO(content), FileFormat.CSV)
    assert "love" not in str(refused.value)


def test_the_suffix_tells_the_format_or_the_user_must() -> None:
    assert format_of(Path("reviews.NDJSON")) is FileFormat.JSONL
    with pytest.raises(UnusableFileError, match="--format"):
        format_of(Path("reviews.dat"))
