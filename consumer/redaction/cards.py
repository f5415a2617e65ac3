"""Finds payment card numbers: an issuer's range, a length that it uses, and a check digit that fits.

Ranges and lengths are those that the issuers publish (numbering: ISO/IEC 7812-1); the check digit is Luhn's, Annex B of
the same standard. Groups may be parted as people write them; a number begins and ends where a group does, so that
no part of a longer number is taken for one.
"""

import re
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import accumulate, pairwise
from typing import Final, NamedTuple

# Twelve digits or more with at most two separators between any two. Possessive, so linear.
_RUN: Final = re.compile(r"[0-9](?:[ \t\r\n._-]{0,2}+[0-9]){11,}+")
_GROUP: Final = re.compile(r"[0-9]+")
_USUAL_GROUP_DIGITS: Final = 4
_DOUBLED: Final = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)


class _Issuer(NamedTuple):
    first: str
    last: str
    lengths: tuple[int, ...]


_ISSUERS: Final = (
    _Issuer("4", "4", (19, 18, 16, 13)),  # Visa
    _Issuer("51", "55", (16,)),  # Mastercard
    _Issuer("2221", "2720", (16,)),  # Mastercard
    _Issuer("34", "34", (15,)),  # American Express
    _Issuer("37", "37", (15,)),  # American Express
    _Issuer("300", "305", (16, 14)),  # Diners Club
    _Issuer("36", "36", (16, 14)),  # Diners Club
    _Issuer("38", "39", (16, 14)),  # Diners Club
    _Issuer("3528", "3589", (19, 18, 17, 16)),  # JCB
    _Issuer("6011", "6011", (19, 18, 17, 16)),  # Discover
    _Issuer("644", "649", (19, 18, 17, 16)),  # Discover
    _Issuer("65", "65", (19, 18, 17, 16)),  # Discover, RuPay
    _Issuer("60", "60", (16,)),  # RuPay
    _Issuer("508", "508", (16,)),  # RuPay
    _Issuer("62", "62", (19, 18, 17, 16)),  # UnionPay
    _Issuer("2200", "2204", (19, 18, 17, 16)),  # Mir
    _Issuer("5018", "5020", (19, 18, 17, 16, 15, 14, 13, 12)),  # Maestro, Dankort
    _Issuer("5038", "5038", (19, 18, 17, 16, 15, 14, 13, 12)),  # Maestro
    _Issuer("5893", "5893", (19, 18, 17, 16, 15, 14, 13, 12)),  # Maestro
    _Issuer("6304", "6304", (19, 18, 17, 16, 15, 14, 13, 12)),  # Maestro
    _Issuer("6759", "6763", (19, 18, 17, 16, 15, 14, 13, 12)),  # Maestro
)
_FIRST_DIGITS: Final = frozenset(issuer.first[0] for issuer in _ISSUERS)


def find_cards(text: str) -> Iterator[tuple[int, int]]:
    """The spans of the card numbers in a folded text, in order."""
    for run in _RUN.finditer(text):
        groups = [match.span() for match in _GROUP.finditer(text, run.start(), run.end())]
        yield from _cards_in(text, groups)


def _cards_in(text: str, groups: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    digits = "".join([text[start:end] for start, end in groups])
    # Where each group begins among the digits alone, and one entry for the end.
    bounds = list(accumulate([end - start for start, end in groups], initial=0))
    group_at = {bound: index for index, bound in enumerate(bounds)}
    sums = _luhn_sums(digits)
    taken = 0
    for first, start in enumerate(bounds[:-1]):
        if first < taken or digits[start] not in _FIRST_DIGITS:
            continue
        for length in _lengths(digits[start : start + 4]):
            last = group_at.get(start + length)
            if last is None or not _has_check_digit(sums, start, start + length):
                continue
            if _is_written_as_one(text, groups[first:last]):
                yield groups[first][0], groups[last - 1][1]
                taken = last
                break


@cache
def _lengths(prefix: str) -> tuple[int, ...]:
    """Longest first; none where no issuer has the prefix."""
    return next(
        (issuer.lengths for issuer in _ISSUERS if issuer.first <= prefix[: len(issuer.first)] <= issuer.last), ()
    )


def _luhn_sums(digits: str) -> tuple[list[int], list[int]]:
    """Sums of the digits before each place, those at odd places doubled, and those at even ones."""
    once = [int(digit) for digit in digits]
    twice = [_DOUBLED[value] for value in once]
    odd, even = list(once), list(twice)
    odd[1::2], even[1::2] = twice[1::2], once[1::2]
    return list(accumulate(odd, initial=0)), list(accumulate(even, initial=0))


def _has_check_digit(sums: tuple[list[int], list[int]], start: int, end: int) -> bool:
    # From the right, the last digit counts as it is and every second one doubled.
    of_parity = sums[(end - 1) % 2]
    return (of_parity[end] - of_parity[start]) % 10 == 0


def _is_written_as_one(text: str, groups: Sequence[tuple[int, int]]) -> bool:
    """Whether the groups are parted alike, or are a card's: two decimal numbers in a row are neither."""
    separators = {text[end:start][:1] for (_, end), (start, _) in pairwise(groups)}
    return len(separators) <= 1 or all(end - start == _USUAL_GROUP_DIGITS for start, end in groups[:-1])
