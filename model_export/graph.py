"""What a graph is made of: its operators, its layers, and how much of its work is done in int8. Needs `onnx`."""

from collections import Counter
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, Final

import onnx
from onnx import GraphProto, NodeProto, TensorProto

# The operators that multiply activations by weights, with the place of the weights among their inputs.
_PRODUCTS: Final = {"MatMul": 1, "Gemm": 1, "Attention": 1, "QAttention": 1, "MatMulInteger": 1, "QGemm": 3}
_ATTENTION: Final = frozenset({"Attention", "QAttention", "MultiHeadAttention"})
_INT8: Final = frozenset({TensorProto.INT8, TensorProto.UINT8})


@dataclass(frozen=True)
class GraphSummary:
    """A graph in figures.

    Attributes:
        operators: how often each operator occurs, the most frequent first.
        attention_layers: fused attention nodes.
        parameters: numbers stored in all weights.
        quantised_parameters: the share of them that is int8.
        products: multiplications of activations by weights.
        quantised_products: how many of them run in int8.
        quantised_work: the share of all their multiply-adds for one token that runs in int8.
        largest_weights: the largest tensors: name, shape, type, bytes.
        opset: of the standard operators.
    """

    operators: dict[str, int]
    attention_layers: int
    parameters: int
    quantised_parameters: float
    products: int
    quantised_products: int
    quantised_work: float
    largest_weights: list[dict[str, Any]]
    opset: int


def summarise_graph(path: Path, largest: int = 6) -> GraphSummary:
    """Read an ONNX file and count."""
    model = onnx.load(path)
    graph: GraphProto = model.graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    sizes = {name: prod(tensor.dims) for name, tensor in weights.items()}
    parameters = sum(sizes.values())
    int8 = {name for name, tensor in weights.items() if tensor.data_type in _INT8}
    products = [weight for node in graph.node if (weight := _product_weight(node, weights)) is not None]
    work = sum(sizes[weight] for weight in products)
    quantised = [weight for weight in products if weight in int8]
    operators = Counter(node.op_type for node in graph.node)
    by_bytes = sorted(weights.values(), key=lambda tensor: -len(tensor.raw_data))[:largest]
    return GraphSummary(
        operators=dict(operators.most_common()),
        attention_layers=sum(operators[name] for name in _ATTENTION),
        parameters=parameters,
        quantised_parameters=round(sum(sizes[name] for name in int8) / max(parameters, 1), 4),
        products=len(products),
        quantised_products=len(quantised),
        quantised_work=round(sum(sizes[weight] for weight in quantised) / max(work, 1), 4),
        largest_weights=[
            {
                "name": tensor.name,
                "shape": list(tensor.dims),
                "type": TensorProto.DataType.Name(tensor.data_type).lower(),
                "bytes": len(tensor.raw_data),
            }
            for tensor in by_bytes
        ],
        opset=next((entry.version for entry in model.opset_import if not entry.domain), 0),
    )


def _product_weight(node: NodeProto, weights: dict[str, TensorProto]) -> str | None:
    place = _PRODUCTS.get(node.op_type)
    if place is None or len(node.input) <= place or node.input[place] not in weights:
        return None
    return str(node.input[place])
