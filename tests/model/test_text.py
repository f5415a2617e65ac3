"""The clean-up that training and serving share."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.inference.text import prepare


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("see https://example.org/a?b=c#d, please", "see <url> please"),
        ("HTTP://EXAMPLE.ORG and www.example.org", "<url> and <url>"),
        ("thanks @some_one! and @other", "thanks @user! and @user"),
        ("  two\t lines\n\nhere  ", "two lines here"),
        ("mail me@example.org", "mail me@user.org"),
        ("price @ 5, httpsomething, ww.w", "price @ 5, httpsomething, ww.w"),
        ("\u00a0\u2003", ""),
    ],
)
def test_forms(text: str, expected: str) -> None:
    assert prepare(text) == expected


@given(st.text(alphabet=st.one_of(st.sampled_from("@:/.w hts\n\t_<>"), st.characters(codec="utf-8"))))
def test_preparing_twice_changes_nothing(text: str) -> None:
    once = prepare(text)
    assert prepare(once) == once


@pytest.mark.parametrize("unit", ["http", "https://", "www.", "@", "@a", "@ ", " ", "http://@www."])
def test_a_megabyte_takes_linear_time(unit: str) -> None:
    text = unit * (1_000_000 // len(unit))
    started = time.process_time()
    prepare(text)
    assert time.process_time() - started < 2
