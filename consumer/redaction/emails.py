"""Finds e-mail addresses: plain, internationalised, quoted, with a literal host, and `name (at) example (dot) com`.

Time is linear: no quantifier can give characters back to another one, and each character is looked at for the mark
before it and the mark after it only.
"""

import re
from collections.abc import Iterator
from typing import Final

# A mark between name and host. Bare words ("look at example dot com") are too common in messages to be one.
_MARK: Final = re.compile(r" ?@ ?|%40|&#64;|&commat;| ?[(\[{<] ?(?:at|\u00e4t|arroba|@) ?[)\]}>] ?", re.IGNORECASE)
_DOT: Final = r"(?:\.| ?[(\[{<] ?(?:dot|punkt|point|punto) ?[)\]}>] ?| dot )"
_HOST: Final = re.compile(rf"[\w-]++(?:{_DOT}[\w-]++)++", re.IGNORECASE)
_LITERAL_HOST: Final = re.compile(r"\[(?:IPv6:)?[0-9a-f.:]{3,45}\]", re.IGNORECASE)
_LAST_LABEL: Final = re.compile(r"(?<![\w-])(?:xn--[\w-]+|[^\W\d_][\w-]*[^\W_])\Z", re.IGNORECASE)
_NAME: Final = re.compile(r"[\w.%+'\u2019~!$^*#-]")
_NAME_EDGE: Final = ".'\u2019*#-~!$^"
_SPACED_NAME: Final = re.compile(r"[._+0-9]")
_MAX_QUOTED_CHARS: Final = 64


def find_emails(text: str) -> Iterator[tuple[int, int]]:
    """The spans of the addresses in a folded text, in order."""
    done = 0
    for mark in _MARK.finditer(text):
        host = _LITERAL_HOST.match(text, mark.end()) or _host(text, mark.end())
        if host is None:
            continue
        start = _name_start(text, mark.start(), done)
        if start is None or not _joins(mark[0], text[start : mark.start()]):
            continue
        done = host.end()
        yield start, done


def _host(text: str, start: int) -> "re.Match[str] | None":
    host = _HOST.match(text, start)
    return host if host is not None and _LAST_LABEL.search(host[0].rstrip("-_")) else None


def _name_start(text: str, end: int, done: int) -> int | None:
    if text[end - 1 : end] == '"':
        start = text.rfind('"', max(done, end - _MAX_QUOTED_CHARS - 2), end - 1)
        return start if start >= 0 else None
    start = end
    while start > done and _NAME.match(text[start - 1]):
        start -= 1
    while start < end and text[start] in _NAME_EDGE:
        start += 1
    return start if start < end else None


def _joins(mark: str, name: str) -> bool:
    """Whether the mark makes one address of what stands before and after it."""
    if mark.strip() != "@" or mark == "@":
        return True
    # "found it @ example.com" speaks of a site, " @example.com" of a user; "jane.doe @ example.com" is an address.
    return mark == " @ " and _SPACED_NAME.search(name) is not None
