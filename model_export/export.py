"""From a PyTorch model to an fp32 ONNX graph whose batch and length stay open, fused for transformers."""

import warnings
from pathlib import Path
from typing import Final

import onnx
from onnxruntime.transformers.fusion_options import FusionOptions
from onnxruntime.transformers.optimizer import optimize_model
from optimum.exporters.onnx.convert import export as optimum_export
from optimum.exporters.onnx.model_configs import DistilBertOnnxConfig

from model_export.checkpoint import OUTPUT_SUFFIX, Checkpoint

INPUTS: Final = ("input_ids", "attention_mask")
_DYNAMIC: Final = {0: "batch", 1: "length"}


class ExportError(Exception):
    """The graph is not what a consumer can run; the message says which part of it."""


class _FeedbackOnnxConfig(DistilBertOnnxConfig):  # type: ignore[misc]
    """DistilBERT's inputs under our axis names, and one output per head."""

    @property
    def inputs(self) -> dict[str, dict[int, str]]:
        return dict.fromkeys(INPUTS, _DYNAMIC)

    @property
    def outputs(self) -> dict[str, dict[int, str]]:
        return {head + OUTPUT_SUFFIX: {0: _DYNAMIC[0]} for head in self._config.heads}


def export_fp32(checkpoint: Checkpoint, target: Path, opset: int) -> None:
    """Trace the model into an ONNX file with optimum's exporter.

    Raises:
        ExportError: an input or output is missing, or an axis was frozen to the traced shape.
    """
    config = _FeedbackOnnxConfig(checkpoint.model.config, task="text-classification")
    with warnings.catch_warnings():
        # The tracer warns of each constant it records; the gates prove over a grid of shapes that none is wrong.
        warnings.simplefilter("ignore")
        optimum_export(checkpoint.model, config, target, opset=opset)
    assert_open_shapes(onnx.load(target, load_external_data=False), tuple(checkpoint.heads))


def optimise(source: Path, target: Path, checkpoint: Checkpoint) -> None:
    """Fuse attention, layer norms, GELU and embeddings into onnxruntime's operators for transformers.

    Raises:
        ExportError: attention was not fused in every layer, or fusing froze an axis.
    """
    config = checkpoint.model.config
    options = FusionOptions("bert")
    # A one-dimensional mask would read the mask as a length; ours stays what the tokenizer says.
    options.use_raw_attention_mask()
    # Quantised together with its layer norm the embedding table would get one scale; alone it gets one a row.
    options.enable_embed_layer_norm = False
    graph = onnx.load(source)
    _read_length_from_ids(graph.graph)
    fused = optimize_model(
        graph, "bert", num_heads=config.n_heads, hidden_size=config.dim, optimization_options=options
    )
    count = fused.get_fused_operator_statistics()["Attention"]
    if count != config.n_layers:
        raise ExportError(f"only {count} of {config.n_layers} attention layers were fused: the graph would be slow")
    fused.save_model_to_file(str(target))
    assert_open_shapes(onnx.load(target), tuple(checkpoint.heads))


def _read_length_from_ids(graph: onnx.GraphProto) -> None:
    """Take the text length from the ids' shape, not from that of the looked-up embeddings.

    DistilBERT does the latter, which would keep a second lookup in the fused graph only for its shape.
    """
    embeddings = {node.output[0] for node in graph.node if node.op_type == "Gather" and INPUTS[0] in node.input}
    for node in graph.node:
        if node.op_type == "Shape" and node.input[0] in embeddings:
            node.input[0] = INPUTS[0]


def assert_open_shapes(model: onnx.ModelProto, heads: tuple[str, ...]) -> None:
    """Check that a graph has the agreed inputs and outputs and that batch and length are symbolic in them.

    Raises:
        ExportError: naming the first input or output that is not right.
    """
    graph = model.graph
    found = {value.name: value for value in (*graph.input, *graph.output)}
    expected = dict.fromkeys(INPUTS, ("batch", "length")) | {head + OUTPUT_SUFFIX: ("batch",) for head in heads}
    if set(found) != set(expected):
        raise ExportError(f"the graph has {sorted(found)}, expected {sorted(expected)}")
    for name, axes in expected.items():
        shape = found[name].type.tensor_type.shape.dim
        symbols = tuple(dimension.dim_param for dimension in shape[: len(axes)])
        if symbols != axes:
            raise ExportError(f"{name}: the axes {axes} came out as {symbols}: the graph serves one shape only")
