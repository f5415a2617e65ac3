"""What a tokenizer.json may hold, checked before the tokenizers library builds it.

Only the parts of which BERT's own tokenizer is made, whose time is linear in a text and which never make more of it:
no regular expression of the file's own, no replacement, no character map, no template that repeats.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from consumer.inference import limits
from consumer.inference.bundle_files import parse_json
from consumer.inference.manifest import BundleError

_KEYS: Final = frozenset(
    [
        "version",
        "truncation",
        "padding",
        "added_tokens",
        "normalizer",
        "pre_tokenizer",
        "post_processor",
        "decoder",
        "model",
    ]
)
_MODELS: Final = frozenset({"WordPiece", "WordLevel"})
_NORMALIZERS: Final = frozenset(["BertNormalizer", "Lowercase", "NFC", "NFD", "NFKC", "NFKD", "Strip", "StripAccents"])
_PRE_TOKENIZERS: Final = frozenset({"BertPreTokenizer", "Whitespace", "WhitespaceSplit"})
_POST_PROCESSORS: Final = frozenset({"TemplateProcessing", "BertProcessing"})
_DECODERS: Final = frozenset({"WordPiece"})
_SEQUENCE: Final = "Sequence"
_MAX_ID: Final = 2**31


class _RefusedError(ValueError):
    """Why a tokenizer is refused."""


def check_tokenizer_file(content: bytes, path: Path) -> None:
    """Check the bytes of `tokenizer.json`.

    Args:
        content: all of them.
        path: named in messages.

    Raises:
        BundleError: they hold something that no export of ours writes.
    """
    tokenizer = parse_json(content, str(path))
    try:
        _check(_mapping(tokenizer, "the document"))
    except _RefusedError as reason:
        raise BundleError(
            f"{path}: not a tokenizer that `python -m model_export` writes: {reason}; export it with a BERT tokenizer"
        ) from None


def _check(tokenizer: Mapping[str, Any]) -> None:
    for key in tokenizer.keys() - _KEYS:
        raise _RefusedError(f"the part {key[:60]!a} is unknown")
    _check_model(_part(tokenizer, "model", _MODELS))
    _check_added(tokenizer.get("added_tokens") or [])
    if tokenizer.get("normalizer") is not None:
        _check_normalizer(_mapping(tokenizer["normalizer"], "normalizer"))
    if tokenizer.get("pre_tokenizer") is not None:
        _part(tokenizer, "pre_tokenizer", _PRE_TOKENIZERS)
    if tokenizer.get("decoder") is not None:
        _part(tokenizer, "decoder", _DECODERS)
    if tokenizer.get("post_processor") is not None:
        _check_post_processor(_part(tokenizer, "post_processor", _POST_PROCESSORS))


def _check_model(model: Mapping[str, Any]) -> None:
    words = _mapping(model.get("vocab"), "model.vocab")
    _limit(len(words), limits.MAX_WORDS, "words")
    for word, number in words.items():
        _check_word(word, number)
    _limit(model.get("max_input_chars_per_word", 0), limits.MAX_WORD_CHARACTERS, "characters in a word that it splits")
    for name in ("unk_token", "continuing_subword_prefix"):
        _check_word(model.get(name, ""), 0)


def _check_added(added: Any) -> None:  # noqa: ANN401 - from a document
    if not isinstance(added, list):
        raise _RefusedError("added_tokens is no list")
    _limit(len(added), limits.MAX_ADDED_WORDS, "added words")
    for each in added:
        token = _mapping(each, "an added word")
        _check_word(token.get("content"), token.get("id"))


def _check_normalizer(normalizer: Mapping[str, Any]) -> None:
    parts = [normalizer]
    if normalizer.get("type") == _SEQUENCE:
        parts = [_mapping(part, "a normalizer") for part in _list(normalizer.get("normalizers"), "normalizers")]
        _limit(len(parts), limits.MAX_NORMALIZERS, "normalizers")
    for part in parts:
        _require_type(part, "normalizer", _NORMALIZERS)


def _check_post_processor(processor: Mapping[str, Any]) -> None:
    if processor["type"] != "TemplateProcessing":
        return
    single = _list(processor.get("single"), "the template")
    added = _mapping(processor.get("special_tokens"), "the template's tokens")
    around = 0
    texts = 0
    for each in single:
        piece = _mapping(each, "a piece of the template")
        if _SEQUENCE in piece:
            texts += 1
            continue
        name = _mapping(piece.get("SpecialToken"), "a piece of the template").get("id")
        around += len(_list(_mapping(added.get(str(name)), "a token of the template").get("ids"), "its ids"))
        _limit(around, limits.MAX_TOKENS_AROUND_A_TEXT, "tokens around a text")
    if texts != 1:
        raise _RefusedError(f"its template holds the text {texts:,} times")


def _part(tokenizer: Mapping[str, Any], name: str, allowed: frozenset[str]) -> Mapping[str, Any]:
    part = _mapping(tokenizer.get(name), name)
    _require_type(part, name, allowed)
    return part


def _require_type(part: Mapping[str, Any], name: str, allowed: frozenset[str]) -> None:
    kind = part.get("type")
    if not isinstance(kind, str) or kind not in allowed:
        raise _RefusedError(f"the {name} {str(kind)[:60]!a} is none of {', '.join(sorted(allowed))}")


def _check_word(word: Any, number: Any) -> None:  # noqa: ANN401 - from a document
    if not isinstance(word, str):
        raise _RefusedError("a word is no text")
    _limit(len(word), limits.MAX_WORD_CHARACTERS, "characters in a word")
    if type(number) is not int or not 0 <= number < _MAX_ID:
        raise _RefusedError("a word has no number that counts")


def _mapping(value: Any, name: str) -> Mapping[str, Any]:  # noqa: ANN401 - from a document
    if not isinstance(value, dict):
        raise _RefusedError(f"{name} is missing or no object")
    return value


def _list(value: Any, name: str) -> list[Any]:  # noqa: ANN401 - from a document
    if not isinstance(value, list):
        raise _RefusedError(f"{name} is missing or no list")
    return value


def _limit(count: Any, most: int, what: str) -> None:  # noqa: ANN401 - from a document
    if type(count) is not int or count > most:
        raise _RefusedError(f"more than {most:,} {what}")
