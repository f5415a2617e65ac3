"""The reader notices what a reader would stumble over."""

import os
from pathlib import Path

import pytest

from tests.docs.pages import Block, blocks_of
from tests.docs.reader import Reader


@pytest.fixture
def reader(tmp_path: Path) -> Reader:
    return Reader(repository=tmp_path, home=tmp_path, variables=dict(os.environ), http_address="127.0.0.1:1234")


def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> list[Block]:
    monkeypatch.setattr("tests.docs.pages.ROOT", tmp_path)
    path = tmp_path / "page.md"
    path.write_text(text, "utf-8")
    return blocks_of(path)


def test_one_shell_runs_the_whole_page(reader: Reader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = page(
        tmp_path,
        monkeypatch,
        "```sh\nexport WHO=world\n```\n\n<!-- prints: hello world -->\n```python\n"
        "import os\nprint('hello', os.environ['WHO'])\n```\n\n<!-- exits: 4 -->\n```sh\n(exit 4)\n```\n"
        "<!-- prints: 127.0.0.1:1234 -->\n```sh\necho http://localhost:9464/metrics\n```\n",
    )

    assert reader.follow(blocks) is None


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("```sh\ntrue\nfalse\ntrue\n```\n", "page.md:1: ended with 1"),
        ("```sh\ntrue\n```\n\n```sh\nfalse | cat\n```\n", "page.md:5: ended with 1"),
        ("```sh\necho $NOT_SET_ANYWHERE\n```\n", "page.md:1: ended with 1"),
        ("<!-- exits: 4 -->\n```sh\ntrue\n```\n", "page.md:2: ended with 1"),
        ("<!-- prints: five -->\n```sh\necho four\n```\n", "page.md:2: did not print 'five'"),
        ("```python\nraise SystemExit(3)\n```\n", "page.md:1: ended with 3"),
        ("```sh\nexit 0\n```\n\n```sh\ntrue\n```\n", "page.md:5: was not reached"),
        ("```sh\nif\n```\n", "page.md:1: ended with 2"),
    ],
)
def test_what_goes_wrong_is_told_with_its_place(
    text: str, problem: str, reader: Reader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = reader.follow(page(tmp_path, monkeypatch, text))

    assert found is not None
    assert found.startswith(problem)


def test_a_comment_belongs_to_the_block_right_below_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "<!-- not run: needs Docker -->\n```sh\nfirst\n```\n\n- in a list:\n\n  ```sh\n  second\n    more\n  ```\n"
    first, second = page(tmp_path, monkeypatch, text)

    assert (first.not_run, first.text) == ("needs Docker", "first\n")
    assert (second.not_run, second.text, second.line) == (None, "second\n  more\n", 8)
