"""A data set that a tiny DistilBERT learns in seconds, and that DistilBERT."""

import json
import random
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import DistilBertConfig, DistilBertModel, MPNetConfig, MPNetModel

from schemas.labels import CATEGORIES, SENTIMENTS

_FILLERS = ("the", "app", "page", "today", "again", "my", "order", "screen", "with", "this")
_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
ROWS_PER_SPLIT = {"train": 480, "dev": 48}

CONFIG = """\
base = "{base}"
seed = 3
max_length_tokens = 24
validation_share = 0.25
epochs = 15
patience_epochs = 15
save_steps = 10
batch_records = 16
learning_rate = 3e-3
head_learning_rate = 1e-2
weight_decay = 0.01
warmup_share = 0.1
max_gradient_norm = 1.0
label_smoothing = 0.0
low_confidence_weight = 0.5
[head_weights]
category = 1.0
sentiment = 1.0
constructive = 1.0
"""


def write_rows(path: Path) -> None:
    """Rows whose words name their labels, with fillers around them.

    A tenth of the train rows have wrong labels: without any doubt in the data, calibration would run to its bound.
    """
    pick = random.Random(0)
    rows = []
    for split, count in ROWS_PER_SPLIT.items():
        for number in range(count):
            labels = {
                "category": CATEGORIES[number % len(CATEGORIES)],
                "sentiment": pick.choice(SENTIMENTS),
                "constructive": pick.choice(("no", "yes")),
            }
            words = [
                *(f"{head}{label}" for head, label in labels.items()),
                *pick.choices(_FILLERS, k=pick.randint(3, 9)),
            ]
            pick.shuffle(words)
            if split == "train" and number % 10 == 0:
                labels = {"category": pick.choice(CATEGORIES), "sentiment": "neutral", "constructive": "no"}
            rows.append({"text": " ".join(words), "split": split, "source": "authored", "licence": "MIT", **labels})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def write_texts(path: Path, count: int = 200) -> None:
    """Texts of the same words that nobody labelled; the last one must not ship."""
    pick = random.Random(1)
    rows = []
    for _ in range(count):
        words = [f"category{pick.choice(CATEGORIES)}", f"sentiment{pick.choice(SENTIMENTS)}", "constructiveno"]
        words += pick.choices(_FILLERS, k=pick.randint(3, 9))
        pick.shuffle(words)
        rows.append({"text": " ".join(words), "label": "unused", "source": "pool", "shippable": True})
    rows[-1] |= {"text": "barred words", "shippable": False}
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def write_base(folder: Path) -> None:
    """A random DistilBERT of two layers over a word-level vocabulary."""
    words = [f"category{label}" for label in CATEGORIES] + [f"sentiment{label}" for label in SENTIMENTS]
    words += ["constructiveno", "constructiveyes", *_FILLERS]
    vocabulary = {word: number for number, word in enumerate((*_SPECIAL, *words))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    torch.manual_seed(0)
    config = DistilBertConfig(
        vocab_size=len(vocabulary), max_position_embeddings=26, n_layers=2, n_heads=2, dim=32, hidden_dim=64
    )
    DistilBertModel(config).save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))


def write_teacher_base(folder: Path) -> None:
    """A random MPNet of one layer over the same vocabulary."""
    write_base(folder)
    vocabulary_size = Tokenizer.from_file(str(folder / "tokenizer.json")).get_vocab_size()
    torch.manual_seed(1)
    config = MPNetConfig(
        vocab_size=vocabulary_size,
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=28,
    )
    MPNetModel(config).save_pretrained(folder)


def write_config(path: Path, base: Path) -> None:
    """Hyper-parameters that learn the rows above in a few seconds."""
    path.write_text(CONFIG.format(base=base.as_posix()), encoding="utf-8")
