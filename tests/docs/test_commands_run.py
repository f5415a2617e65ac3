"""Every command in the documents runs, in the order in which a reader meets it."""

from pathlib import Path

import pytest

from tests.deploy.deployed_settings import ROOT
from tests.docs.pages import PAGES, RUN_LANGUAGES, SHOWN_LANGUAGES, blocks_of, blocks_to_run
from tests.docs.reader import Reader


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.kafka
@pytest.mark.postgres
@pytest.mark.timeout(360)
@pytest.mark.parametrize("page", [page for page in PAGES if blocks_to_run(page)], ids=name_of)
def test_a_reader_can_follow_the_page(page: Path, ready_reader: Reader) -> None:
    problem = ready_reader.follow(blocks_to_run(page))

    assert problem is None, problem


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_what_is_left_out_says_why(page: Path) -> None:
    for block in blocks_of(page):
        assert block.language in RUN_LANGUAGES | SHOWN_LANGUAGES, f"{block.place}: no test knows {block.language}"
        if block.not_run is not None:
            assert len(block.not_run.split()) > 1, f"{block.place}: give a reason"
            assert block.language in RUN_LANGUAGES, f"{block.place}: it would not be run anyway"
