"""Outlier channels of the activations, kept from spoiling the one scale that int8 has for a whole tensor.

Transformer encoders carry a few channels ten times larger than the rest, always the same ones. Dynamic quantisation
gives a tensor one scale, so these few would cost all others their precision. What is rewritten here computes the same
in fp32:

* A matrix product splits: the outlier channels are multiplied in fp32, the rest, with zeros in their place, is left
  for int8 (Dettmers et al. 2022, LLM.int8(), with the channels chosen beforehand).
* Fused attention cannot split. Its outlier channels are divided by a power of two and their rows of the weights
  multiplied by it (Xiao et al. 2022, SmoothQuant).
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from consumer.inference.encoding import EncodedText

# The name of a product of outlier channels ends so; it is not to be quantised.
OUTLIER_PRODUCT: Final = "/outlier_product"
# In multiples of the median channel's magnitude: what makes a product worth splitting, and which of its channels then
# go apart; which channels of an attention are scaled.
_WORTH_SPLITTING: Final = 5.0
_SPLIT_FROM: Final = 2.5
_SCALE_FROM: Final = 2.0


def relieve_outliers(source: Path, target: Path, texts: Iterable[EncodedText]) -> None:
    """Rewrite the products of an optimised fp32 graph that take outlier channels.

    Args:
        source: the optimised fp32 graph.
        target: where the rewritten fp32 graph goes.
        texts: what the channels' magnitudes are measured on.
    """
    largest = _channel_maxima(source, texts)
    model = onnx.load(source)
    weights = {initializer.name: initializer for initializer in model.graph.initializer}
    nodes = list(model.graph.node)
    del model.graph.node[:]
    for node in nodes:
        new_nodes: Sequence[NodeProto] = [node]
        new_tensors: Sequence[TensorProto] = []
        if _takes_activations(node, weights):
            weight, magnitudes = weights[node.input[1]], largest[node.input[0]]
            ratios = magnitudes / np.median(magnitudes)
            if node.op_type == "Attention":
                new_nodes, new_tensors = _scale(node, weight, ratios / _SCALE_FROM)
            elif ratios.max() > _WORTH_SPLITTING:
                new_nodes, new_tensors = _split(node, weight, np.flatnonzero(ratios > _SPLIT_FROM))
        model.graph.node.extend(new_nodes)
        model.graph.initializer.extend(new_tensors)
    onnx.save(model, target)


def _split(
    node: NodeProto, weight: TensorProto, outliers: NDArray[np.int64]
) -> tuple[Sequence[NodeProto], Sequence[TensorProto]]:
    """Y = X W becomes Y = (X * mask) W' + X[outliers] W[outliers], with zero rows for the outliers in W'."""
    activations = node.input[0]
    matrix = numpy_helper.to_array(weight)
    mask = np.ones(len(matrix), dtype=np.float32)
    mask[outliers] = 0
    weight.CopyFrom(numpy_helper.from_array(matrix * mask[:, None], weight.name))
    name, output = node.name, node.output[0]
    node.input[0], node.output[0] = f"{name}/ordinary", f"{name}/ordinary_product"
    nodes = [
        _node("Mul", [activations, f"{name}/mask"], f"{name}/ordinary"),
        node,
        _node("Gather", [activations, f"{name}/channels"], f"{name}/outliers", axis=-1),
        _node("MatMul", [f"{name}/outliers", f"{name}/rows"], name + OUTLIER_PRODUCT),
        helper.make_node("Add", [node.output[0], name + OUTLIER_PRODUCT], [output], name=f"{name}/sum"),
    ]
    tensors = [
        numpy_helper.from_array(mask, f"{name}/mask"),
        numpy_helper.from_array(outliers, f"{name}/channels"),
        numpy_helper.from_array(matrix[outliers], f"{name}/rows"),
    ]
    return nodes, tensors


def _scale(
    node: NodeProto, weight: TensorProto, ratios: NDArray[np.float32]
) -> tuple[Sequence[NodeProto], Sequence[TensorProto]]:
    """X W becomes (X / s) (s W); s is a power of two, so that fp32 loses nothing."""
    scales = np.exp2(np.round(np.log2(np.maximum(ratios, 1)))).astype(np.float32)
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) * scales[:, None], weight.name))
    name = node.name
    scaling = _node("Mul", [node.input[0], f"{name}/factors"], f"{name}/scaled")
    node.input[0] = f"{name}/scaled"
    return [scaling, node], [numpy_helper.from_array(1 / scales, f"{name}/factors")]


def _node(operator: str, inputs: Sequence[str], output: str, **attributes: int) -> NodeProto:
    return helper.make_node(operator, inputs, [output], name=output, **attributes)


def _takes_activations(node: NodeProto, weights: dict[str, Any]) -> bool:
    return node.op_type in {"Attention", "MatMul"} and node.input[1] in weights


def _channel_maxima(source: Path, texts: Iterable[EncodedText]) -> dict[str, NDArray[np.float32]]:
    """Per input of a product, the largest magnitude of each channel over all tokens of the texts."""
    model = onnx.load(source)
    weights = {initializer.name: initializer for initializer in model.graph.initializer}
    names = sorted({node.input[0] for node in model.graph.node if _takes_activations(node, weights)})
    for name in names:
        model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    largest: dict[str, NDArray[np.float32]] = {}
    for text in texts:
        input_ids = np.array([text.ids], dtype=np.int64)
        values = session.run(names, {"input_ids": input_ids, "attention_mask": np.ones_like(input_ids)})
        for name, value in zip(names, values, strict=True):
            found = np.abs(value).max(axis=(0, 1))
            largest[name] = np.maximum(largest.get(name, found), found)
    return largest
