"""From texts to token ids, cut at the model's length."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tokenizers import Encoding, Tokenizer

from consumer.inference.text import mostly_other_script, prepare

# Far above any real text (4 to 5 characters a token), so that the cut bounds the work and changes no ordinary text.
_MAX_CHARS_PER_TOKEN: Final = 20


@dataclass(frozen=True, slots=True)
class EncodedText:
    """The token ids of one text, special tokens included.

    `truncated`: the model does not see all of the text. `is_other_script`: nor was it trained on such a language.
    """

    ids: list[int]
    truncated: bool
    is_other_script: bool = False


class TextEncoder:
    """Prepares and tokenises texts the way the model was trained.

    Attributes:
        pad_id: the id that fills a batch's shorter rows.
        largest_id: the largest id that a text can produce.
    """

    def __init__(self, tokenizer: Path | bytes, *, max_length_tokens: int) -> None:
        """Build a tokenizer from a `tokenizer.json`, or from its bytes."""
        content = tokenizer if isinstance(tokenizer, bytes) else tokenizer.read_bytes()
        built = Tokenizer.from_buffer(content)
        self.pad_id: int = built.token_to_id("[PAD]") or 0
        self.largest_id: int = max(built.get_vocab().values())
        built.no_padding()
        built.enable_truncation(max_length_tokens)
        self._tokenizer = built
        self._max_chars = max_length_tokens * _MAX_CHARS_PER_TOKEN

    def encode(self, texts: Sequence[str]) -> list[EncodedText]:
        """Tokenise texts, in their order. An empty text gives the special tokens alone."""
        prepared = [prepare(text) for text in texts]
        encodings = self._tokenizer.encode_batch_fast([text[: self._max_chars] for text in prepared])
        return [self._encoded(text, encoding) for text, encoding in zip(prepared, encodings, strict=True)]

    def _encoded(self, text: str, encoding: Encoding) -> EncodedText:
        return EncodedText(
            encoding.ids,
            truncated=len(text) > self._max_chars or bool(encoding.overflowing),
            is_other_script=mostly_other_script(text),
        )
