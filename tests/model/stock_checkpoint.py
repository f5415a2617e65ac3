"""A DistilBERT sequence classifier as Hugging Face's own code saves it: tiny, random, with one head of its own."""

from pathlib import Path

import torch
from transformers import DistilBertConfig, DistilBertForSequenceClassification, DistilBertTokenizerFast

LABELS = ("billing", "shipping", "returns")
_WORDS = (
    "the",
    "app",
    "page",
    "today",
    "again",
    "my",
    "order",
    "screen",
    "with",
    "this",
    "refund",
    "parcel",
    "late",
    "card",
)
MAX_POSITIONS = 48


def write_stock_checkpoint(folder: Path, labels: tuple[str, ...] = LABELS) -> Path:
    """Save model and tokenizer by `save_pretrained`; returns the folder."""
    folder.mkdir(parents=True)
    vocabulary = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *_WORDS, *(f"##{letter}" for letter in "abcdefgh"))
    (folder / "vocab.txt").write_text("".join(f"{word}\n" for word in vocabulary))
    torch.manual_seed(5)
    config = DistilBertConfig(
        vocab_size=len(vocabulary),
        max_position_embeddings=MAX_POSITIONS,
        n_layers=2,
        n_heads=2,
        dim=32,
        hidden_dim=64,
        initializer_range=0.4,  # wide, so that different texts get different labels
        id2label=dict(enumerate(labels)),
        label2id={label: number for number, label in enumerate(labels)},
    )
    DistilBertForSequenceClassification(config).save_pretrained(folder)
    DistilBertTokenizerFast(vocab_file=str(folder / "vocab.txt")).save_pretrained(folder)
    return folder


def texts(count: int) -> list[str]:
    """Different texts of known words."""
    generator = torch.Generator().manual_seed(7)
    return [
        " ".join(_WORDS[index] for index in torch.randint(len(_WORDS), (3 + number % 9,), generator=generator).tolist())
        for number in range(count)
    ]
