"""Dynamic int8 quantisation, with what it would hurt kept in fp32."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import onnx
from onnxruntime.quantization import QuantType, quantize_dynamic

from model_export.outliers import OUTLIER_PRODUCT

_QUANTISABLE: Final = ("Attention", "MatMul")
SCHEME: Final = {"per_channel": True, "reduce_range": True}


@dataclass(frozen=True)
class Sensitivity:
    """What int8 costs, node by node: how far the outputs move when a node alone is quantised, and what stayed fp32.

    Both are empty where the whole graph passed and nothing had to be measured.
    """

    kept_fp32: list[str] = field(default_factory=list)
    distances: dict[str, float] = field(default_factory=dict)


def quantise_int8(source: Path, target: Path, keep_fp32: Sequence[str] = ()) -> None:
    """Quantise the weights of a graph's products to int8 per output channel, activations at run time.

    Weights use seven of their eight bits: without VNNI the products of full-range weights overflow their 16-bit sums
    and labels change from one CPU to the other (onnxruntime#6004). So one file serves every CPU. The heads' own
    layers, a thousandth of the work, stay fp32.

    Args:
        source: the optimised fp32 graph.
        target: where the int8 graph goes.
        keep_fp32: names of nodes that are not quantised.
    """
    logging.getLogger().addFilter(_no_preprocessing_hint)
    try:
        quantize_dynamic(
            source,
            target,
            weight_type=QuantType.QInt8,
            **SCHEME,
            nodes_to_quantize=[node for node in quantisable_nodes(source) if node not in keep_fp32],
            # Shape inference knows none of the fused operators; their outputs are all float.
            extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT},
        )
    finally:
        logging.getLogger().removeFilter(_no_preprocessing_hint)


def quantisable_nodes(optimised: Path) -> list[str]:
    """The nodes of an optimised graph that hold weights worth quantising, in graph order."""
    graph = onnx.load(optimised).graph
    weights = {initializer.name for initializer in graph.initializer}
    return [
        node.name
        for node in graph.node
        if node.op_type in _QUANTISABLE and node.input[1] in weights and not node.name.endswith(OUTLIER_PRODUCT)
    ]


def quantise_within_limits(
    source: Path, target: Path, *, passes: Callable[[Path], bool], distance: Callable[[Path], float]
) -> Sensitivity:
    """Quantise, and where that does not pass keep in fp32 what int8 hurts most, node by node, up to a quarter of them.

    Args:
        source: the fp32 graph.
        target: where the int8 graph goes; the last attempt stays there even if none passes.
        passes: whether a graph is good enough.
        distance: how far a graph's outputs lie from those of fp32.

    Returns:
        What was measured and kept.
    """
    quantise_int8(source, target)
    if passes(target):
        return Sensitivity()
    nodes = quantisable_nodes(source)
    measured = Sensitivity()
    for node in nodes:
        quantise_int8(source, target, [other for other in nodes if other != node])
        measured.distances[node] = distance(target)
    for node in sorted(nodes, key=measured.distances.__getitem__, reverse=True)[: len(nodes) // 4]:
        measured.kept_fp32.append(node)
        quantise_int8(source, target, measured.kept_fp32)
        if passes(target):
            break
    return measured


def _no_preprocessing_hint(record: logging.LogRecord) -> bool:
    # The hint asks for the optimisation that this graph has been through.
    return "pre-processing before quantization" not in record.getMessage()
