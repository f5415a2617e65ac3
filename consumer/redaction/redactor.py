"""Puts a typed placeholder in the place of each address or number that is found."""

import hashlib
import hmac
import re
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any, Final, Literal, get_args

from consumer.redaction.cards import find_cards
from consumer.redaction.emails import find_emails
from consumer.redaction.folding import fold
from consumer.redaction.phones import find_phones

Kind = Literal["email", "card", "phone"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)

_FINDERS: Final[dict[Kind, Callable[[str], Iterator[tuple[int, int]]]]] = {
    "email": find_emails,
    "card": find_cards,
    "phone": find_phones,
}
# Longer than anything that is found but an address of more than 254 characters, which nobody has.
_LOOKAHEAD_CHARS: Final = 512
# Nothing that any finder looks for can be there without one of these (every Unicode digit is a \d).
_WORTH_A_LOOK: Final = re.compile(r"[@\uff20\ufe6b]|\d|&commat;|[(\[{<] ?(?:at|\u00e4t|arroba) ?[)\]}>]", re.IGNORECASE)
_MAX_INTEGER_DIGITS: Final = 19
_PSEUDONYM_BYTES: Final = 10
# Letters alone: a digit of a pseudonym could become part of a number that a second look finds.
_LETTERS: Final = str.maketrans("0123456789abcdef", "abcdefghijklmnop")


class Redactor:
    """Finds and replaces what is personal in the strings of events.

    In texts and other values a placeholder is `<email>`, `<phone>` or `<card>`. In what identifies somebody (keys, the
    customer's reference) it is `<email:` and twenty letters `>`: the same ones for the same value and key, so that two
    customers stay two, and nobody without the key can try addresses until one fits.
    """

    def __init__(self, kinds: Collection[Kind], key: bytes, on_found: Callable[[Kind], object] | None = None) -> None:
        """Finds `kinds`. `key` makes pseudonyms and keyed hashes; `on_found` is told of each replacement."""
        self._finders = [(kind, find) for kind, find in _FINDERS.items() if kind in kinds]
        self._key = key
        self._on_found = on_found

    def text(self, text: str, first_chars: int | None = None) -> str:
        """`text` with placeholders; the same object where nothing is found.

        Args:
            text: any string.
            first_chars: only so many characters count, and the others are left out: nothing that the cut goes
                through stays in part.
        """
        limit = len(text) if first_chars is None else first_chars
        return self._replace(text, limit, lambda kind, _: f"<{kind}>")

    def reference(self, text: str) -> str:
        """`text` with pseudonyms; the same object where nothing is found."""
        return self._replace(text, len(text), self._pseudonym)

    def record_key(self, key: bytes | None) -> bytes | None:
        """A Kafka key with pseudonyms. One that is no UTF-8 text stays as it is."""
        if key is None:
            return None
        try:
            text = key.decode()
        except UnicodeDecodeError:
            return key
        replaced = self.reference(text)
        return key if replaced is text else replaced.encode()

    def value(self, value: Any, name: str = "") -> Any:  # noqa: ANN401 (any JSON value)
        """A JSON value with placeholders in its strings and in place of whole numbers, and pseudonyms in its keys.

        `name` is the key under which it stands: `{"phone": 2025550123}` is a phone number for its name alone.
        """
        if isinstance(value, str):
            return self._named(value, name)
        if isinstance(value, dict):
            return {self.reference(key): self.value(item, key) for key, item in value.items()}
        if isinstance(value, list):
            return [self.value(item, name) for item in value]
        if isinstance(value, int | float) and not isinstance(value, bool) and float(value).is_integer():
            digits = str(int(value))
            replaced = self._named(digits, name) if len(digits) <= _MAX_INTEGER_DIGITS else digits
            return value if replaced is digits else replaced
        return value

    def spans(self, text: str) -> list[tuple[int, int, Kind]]:
        """Where something is found: start, end (beyond it) and kind, in order, without overlaps."""
        folded = fold(text)
        return _without_overlaps(
            (*folded.original(start, end), kind) for kind, find in self._finders for start, end in find(folded.text)
        )

    def fingerprint(self, digest: bytes) -> bytes:
        """A hash of content that nobody without the key can use to confirm a guess of what was replaced.

        The plain hash would: everything else of the content is in the row, and phone numbers are few.
        """
        return hmac.digest(self._key, b"content\x00" + digest, hashlib.sha256)

    def _named(self, text: str, name: str) -> str:
        # A name may be anybody's, of any length.
        if not name or len(name) > _LOOKAHEAD_CHARS:
            return self.text(text)
        label = f"{name}: "
        labelled = label + text
        replaced = self._replace(labelled, len(labelled), lambda kind, _: f"<{kind}>", keep=len(label))
        return text if replaced is labelled else replaced[len(label) :]

    def _replace(self, text: str, limit: int, stand_in: Callable[[Kind, str], str], keep: int = 0) -> str:
        read = text[: limit + _LOOKAHEAD_CHARS]
        spans = (
            [span for span in self.spans(read) if keep <= span[0] < limit] if _WORTH_A_LOOK.search(read, keep) else []
        )
        if not spans:
            return text if limit >= len(text) else text[:limit]
        parts: list[str] = []
        done = 0
        for start, end, kind in spans:
            parts += (text[done:start], stand_in(kind, text[start:end]))
            if self._on_found is not None:
                self._on_found(kind)
            done = end
        parts.append(text[done:limit])
        return "".join(parts)

    def _pseudonym(self, kind: Kind, found: str) -> str:
        digest = hmac.digest(self._key, f"{kind}\x00{found}".encode("utf-8", "surrogatepass"), hashlib.sha256)
        return f"<{kind}:{digest[:_PSEUDONYM_BYTES].hex().translate(_LETTERS)}>"


def _without_overlaps(spans: Iterable[tuple[int, int, Kind]]) -> list[tuple[int, int, Kind]]:
    """In order of place. Those that overlap become one, of the kind that comes first in `KINDS`."""
    kept: list[tuple[int, int, Kind]] = []
    for start, end, kind in sorted(spans, key=lambda span: span[0]):
        if kept and start < kept[-1][1]:
            first, last, standing = kept[-1]
            kept[-1] = (first, max(last, end), min(kind, standing, key=KINDS.index))
        else:
            kept.append((start, end, kind))
    return kept
