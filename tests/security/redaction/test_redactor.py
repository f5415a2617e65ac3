"""What is found and what is left alone, whatever bytes somebody writes, in bounded time."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consumer.redaction.redactor import KINDS, Kind, Redactor

KEY = b"a key of the tests"
SECOND_KEY = b"another key of them"
LONG_CHARS = 32_768


def redact(text: str, *kinds: Kind) -> str:
    return Redactor(kinds or KINDS, KEY).text(text)


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("mail jane@example.com, please", "mail <email>, please"),
        ("jane\uff20example\uff0ecom", "<email>"),
        ("j\u200ba\u200dn\ufeffe@exa\u00admple.com!", "<email>!"),
        ("иван@пример.испытание", "<email>"),
        ("jane (at) example (dot) com", "<email>"),
        ("jane [at] example.com", "<email>"),
        ("jane.doe @ example.com", "<email>"),
        ("https://jane:secret@example.com/", "https://jane:<email>/"),
        ("/reset?mail=jane%40example.com&x=1", "/reset?mail=<email>&x=1"),
        ("jane&#64;example.com", "<email>"),
        ("+44 (0)20 7946 0018 x12.", "<phone>."),
        ("+1\u20604155550132", "<phone>"),
        ("\u0660\u0662\u0660\u0667\u0669\u0664\u0666\u0660\u0669\u0669\u0669", "<phone>"),
        ("jane@example.com+1 415 555 0132", "<email>+<phone>"),
        ("4111\u200b1111\u200b1111\u200b1111", "<card>"),
        ("4\ufe0f\u20e31\ufe0f\u20e31\ufe0f\u20e31 1111 1111 1111", "<card>"),
        ("4111 1111 1111 1111 12/29 737", "<card> 12/29 737"),
        ("\U0001d7d2" + 15 * "\U0001d7cf", "<card>"),
    ],
)
def test_forms_that_people_and_evaders_write(text: str, redacted: str) -> None:
    assert redact(text) == redacted


@pytest.mark.parametrize(
    "text",
    [
        "IMEI 490154203237518",  # a valid check digit, and no issuer's range
        "ISBN 978-3-16-148410-0",
        "order 20240131123456",
        "2024-12-31 23:59:59.123",
        "31.12.2024 10:15",
        "192.168.178.101",
        "10.0.19045.3693",
        "$1,234,567.89",
        "52.520008, 13.404954",
        "4012 3456 7890 1234",  # an issuer's range, and no check digit
        "9400 1000 0000 0000 0000 00",  # a card's length begins here nowhere
        "01a1fe33-5e57-781a-bf5a-fd7dde72456b",
        "left-pad@1.3.0 and @user",
        "found it @ example.com",
        "look at example dot com",
    ],
)
def test_other_things_are_left_alone(text: str) -> None:
    redactor = Redactor(KINDS, KEY)
    assert redactor.text(text) is text


def test_only_the_kinds_that_are_asked_for() -> None:
    text = "jane@example.com, +44 20 7946 0018, 4111 1111 1111 1111"
    assert redact(text, "email") == "<email>, +44 20 7946 0018, 4111 1111 1111 1111"
    assert redact(text, "card") == "jane@example.com, +44 20 7946 0018, <card>"
    assert redact(text, "phone", "email") == "<email>, <phone>, 4111 1111 1111 1111"


def test_a_value_is_judged_by_its_name_too() -> None:
    redactor = Redactor(KINDS, KEY)
    value = {
        "phone": 2025550123,
        "order": 2025550123,
        "deep": [{"card": 4111111111111111.0, "paid": True, "sum": 19.9}],
    }
    assert redactor.value(value) == {
        "phone": "<phone>",
        "order": 2025550123,
        "deep": [{"card": "<card>", "paid": True, "sum": 19.9}],
    }


def test_pseudonyms_tell_people_apart_and_tell_nobody_who_they_are() -> None:
    redactor = Redactor(KINDS, KEY)
    jane, again, joe = (redactor.reference(f"{name}@example.com") for name in ("jane", "jane", "joe"))

    assert jane == again != joe
    assert jane.startswith("<email:")
    assert Redactor(KINDS, SECOND_KEY).reference("jane@example.com") != jane
    assert redactor.value({"jane@example.com": 1, "joe@example.com": 2}) == {jane: 1, joe: 2}
    assert redactor.record_key(b"jane@example.com") == jane.encode()
    assert redactor.record_key(b"\xff\x00@example.com") == b"\xff\x00@example.com"
    assert redactor.record_key(None) is None


@pytest.mark.parametrize("secret", ["4111 1111 1111 1111", "jane.doe@example.com", "+44 20 7946 0018"])
def test_nothing_is_left_in_part_at_the_end_of_a_text_that_is_cut(secret: str) -> None:
    redactor = Redactor(KINDS, KEY)
    for inside in range(1, len(secret)):
        text = "word " * 20 + secret + " and more"
        cut = redactor.text(text, 100 + inside)
        assert cut.startswith("word " * 20 + "<"), inside
        assert not any(character.isdigit() or character == "@" for character in cut)


@settings(deadline=None)
@given(
    st.text(alphabet=st.one_of(st.sampled_from('0123456789+-. ()@/at\u200b\uff14\uff20\u0664x[]"'), st.characters()))
)
def test_any_text_comes_out_and_comes_out_the_same_the_second_time(text: str) -> None:
    redactor = Redactor(KINDS, KEY)
    once = redactor.text(text)
    assert redactor.text(once) == once
    reference = redactor.reference(text)
    assert redactor.reference(reference) == reference
    for start, end, _ in redactor.spans(text):
        assert 0 <= start < end <= len(text)


# What the patterns could be made to read again and again.
HOSTILE = [
    *("1", "1 ", "1\n", "1-", "0 1", "0(", "(0", "(0)1 ", "4 ", "4-4", "5018", "6 3 0 4 ", "4111 1111 1111 111"),
    *("+", "+1 ", "+ (", "+1 (", "020 7946 0018 ", "tel ", "tel me ", "tel: 1", "mobile number number ", "1 ext. 1"),
    *("call me my the is ", "isbn ", "2024-12-31 ", "1.1.1.1 ", "\u200b", "1\u200b", "\u0660", "   9"),
    *("@", "a@", "@a.a", "a@a.", "a@b-", "~@", '"a"@', "a@[1", "a(at)", "(at) ", "b dot ", "a (at) b dot "),
]


@pytest.mark.parametrize("seed", HOSTILE)
def test_hostile_text_takes_time_in_proportion_to_its_length(seed: str) -> None:
    redactor = Redactor(KINDS, KEY)
    redactor.spans("é")  # the table is made once

    def fastest_s(chars: int) -> float:
        text = (seed * (chars // len(seed) + 1))[:chars]
        spent_s = []
        for _ in range(3):
            began_s = time.process_time()
            redactor.spans(text)
            spent_s.append(time.process_time() - began_s)
        return min(spent_s)

    whole_s = fastest_s(LONG_CHARS)
    assert whole_s < 0.5
    # A quadratic one would take sixteen times as long; small times are the clock's.
    assert whole_s < 8 * fastest_s(LONG_CHARS // 4) + 0.02
