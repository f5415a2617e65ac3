"""Finds phone numbers as people write them: international, North American, with a trunk zero, or named as one.

No table of the world's numbering plans: which numbers a plan assigns changes by the week, and what is hidden must not
depend on when a package was updated. Each pattern is bounded in length, so the time is linear.
"""

import re
from collections.abc import Iterator
from typing import Final

_EXTENSION: Final = r"(?:[ ,]{0,2}(?:ext|extension|durchwahl|x)[. :]{0,2}[0-9]{1,6})?"
_NOT_IN_NUMBER: Final = r"(?<![0-9])(?<![0-9][-./,:])"
_END: Final = r"(?![0-9])"
_GAP: Final = r"[ \-./()]{0,3}"

# E.164: at most 15 digits. Three more for a trunk zero in brackets and what else people leave in.
_INTERNATIONAL: Final = rf"(?<![\w+])\+[ (]{{0,2}}[1-9](?:{_GAP}[0-9]){{7,15}}{_END}"
_DIALLED: Final = rf"{_NOT_IN_NUMBER}(?<!\w)(?:00|011[ -])[ -]?[1-9](?:{_GAP}[0-9]){{8,13}}{_END}"
# The North American plan: area code and exchange begin with 2 to 9. Somewhere it is parted.
_AMERICAN: Final = (
    rf"{_NOT_IN_NUMBER}(?<!\w)(?:1[ .-]{{1,2}})?(?:\([2-9][0-9]{{2}}\)[ .-]{{0,2}}|[2-9][0-9]{{2}}[ .-]{{1,2}})"
    rf"[2-9][0-9]{{2}}[ .-]{{0,2}}[0-9]{{4}}{_END}(?![-./][0-9])"
)
_TRUNK: Final = rf"{_NOT_IN_NUMBER}(?<!\w)\(?0[1-9](?:\)?[ \-./]{{0,2}}[0-9]){{7,10}}{_END}"
_BRACKETED: Final = (
    rf"{_NOT_IN_NUMBER}(?<!\w)\([0-9]{{2,5}}\)[ -]{{0,2}}[0-9]{{3,5}}[ -][0-9]{{3,4}}{_END}(?![-./][0-9])"
)
_UNNAMED: Final = re.compile(
    rf"(?:{_INTERNATIONAL}|{_DIALLED}|{_AMERICAN}|{_BRACKETED}|{_TRUNK}){_EXTENSION}", re.IGNORECASE
)
_NAMED: Final = re.compile(
    r"(?<![^\W_])(?:(?:tele|smart)?phone|tel|tele?[fph]+on[aeo]?|t\u00e9l\u00e9phone|tel\u00e9fono|tlf|ph|mobile?|mob|"
    r"m\u00f3vil|celular|cell|handy|portable|fax|whats ?app|landline|hotline|call|ring|dial|sms|r\u00fcckruf|"
    r"(?:text|reach)(?= (?:me|us|him|her)\b))(?:number|nummer|nr|s)?"
    r"(?:[ .:=#\"'_-]{1,3}(?:me|us|him|her|my|the|is|ist|es|est|at|on|to|under|unter|no|nr|num|number|nummer|"
    r"num[e\u00e9]ro|n\u00famero|a|please|back|via|\u00e8)(?![^\W_])){0,4}"
    rf"[ .:=#\"'(_-]{{1,4}}([0-9](?:{_GAP}[0-9]){{6,12}}{_END}{_EXTENSION})",
    re.IGNORECASE,
)
_DATE: Final = re.compile(
    r"(?:[0-3]?[0-9]([./-])[0-3]?[0-9]\1(?:19|20)?[0-9]{2}|(?:19|20)[0-9]{2}([./-])[01]?[0-9]\2[0-3]?[0-9]|"
    r"[01]?[0-9][/.-](?:19|20)[0-9]{2})(?![0-9])"
)
_HOST_ADDRESS: Final = re.compile(r"(?:[0-9]{1,3}\.){3}[0-9]{1,3}(?![0-9])")
# A number that is said to be something else.
_OTHER_THING: Final = re.compile(
    r"(?<![^\W_])(?:isbn|imei|iccid|ean|gtin|upc|iban|sku|vin|udid|sim|serial|tracking|order|bestellung|auftrag|"
    r"commande|pedido|invoice|rechnung|facture|ref|reference|ticket|case|article|artikel|contract|policy|lot|"
    r"licen[cs]e|customer|kunde|kundennummer|account|lottery)(?: ?(?:no|nr|id|number|nummer|code|key))?[ .:#-]{0,3}\Z",
    re.IGNORECASE,
)
_OTHER_THING_CHARS: Final = 24
_PAIR: Final = re.compile(r"[0-9]{1,2}(?:[ .-][0-9]{1,2})+\Z")
_PAIRED_DIGITS: Final = 10
_SAME_DIGIT_RUN: Final = re.compile(r"([0-9])\1{8}")


def find_phones(text: str) -> Iterator[tuple[int, int]]:
    """The spans of the phone numbers in a folded text, in order; they may overlap each other."""
    for match in _UNNAMED.finditer(text):
        if _is_phone(text, match.start(), match[0]):
            yield match.span()
    for match in _NAMED.finditer(text):
        if not _is_measure(match[1]):
            yield match.span(1)


def _is_phone(text: str, start: int, found: str) -> bool:
    if found.startswith("+"):
        return True
    if _is_measure(found) or _OTHER_THING.search(text, max(0, start - _OTHER_THING_CHARS), start):
        return False
    # Numbers in pairs are a phone's in France and its neighbours, where it has ten digits; else they are a list.
    return _PAIR.match(found) is None or sum(character.isdigit() for character in found) == _PAIRED_DIGITS


def _is_measure(found: str) -> bool:
    return (
        _DATE.match(found) is not None
        or _HOST_ADDRESS.match(found) is not None
        or _SAME_DIGIT_RUN.search(found) is not None
    )
