"""What an ONNX file may hold, checked in its bytes before onnxruntime sees them.

Field numbers are those of onnx.proto3 (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto3). What is not listed is
refused: external data, graphs within graphs (If, Loop, Scan), functions, sparse tensors, operators of other domains,
and every operator that our export does not write.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Final

from consumer.inference import limits
from consumer.inference.manifest import BundleError
from consumer.inference.wire import Kind, WireError, count_integers, fields, gathered, integers

_GRAPH_OF_MODEL: Final = 7
_MODEL: Final = {
    **dict.fromkeys((1, 5), Kind.INTEGER),  # ir_version, model_version
    **dict.fromkeys((2, 3, 4, 6, _GRAPH_OF_MODEL), Kind.ONCE),  # producer_name, producer_version, domain, doc_string
    **dict.fromkeys((8, 14), Kind.MANY),  # opset_import, metadata_props
}
_NODES: Final = 1
_INITIALIZERS: Final = 5
_GRAPH: Final = {
    **dict.fromkeys((2, 10), Kind.ONCE),  # name, doc_string
    **dict.fromkeys((_NODES, _INITIALIZERS, 11, 12, 13, 16), Kind.MANY),  # input, output, value_info, metadata_props
}
_INPUT: Final = 1
_OUTPUT: Final = 2
_OP_TYPE: Final = 4
_ATTRIBUTES: Final = 5
_DOMAIN: Final = 7
_NODE: Final = {
    **dict.fromkeys((3, _OP_TYPE, 6, _DOMAIN), Kind.ONCE),  # name, doc_string
    **dict.fromkeys((_INPUT, _OUTPUT, _ATTRIBUTES, 9), Kind.MANY),  # metadata_props
}
_TENSOR_OF_ATTRIBUTE: Final = 5
_ATTRIBUTE: Final = {
    **dict.fromkeys((3, 20), Kind.INTEGER),  # i, type
    **dict.fromkeys((1, 4, _TENSOR_OF_ATTRIBUTE, 13), Kind.ONCE),  # name, s, doc_string
    2: Kind.FLOAT,
    7: Kind.FLOATS,
    8: Kind.INTEGERS,
    9: Kind.MANY,  # strings
}
_DIMS: Final = 1
_DATA_TYPE: Final = 2
_NAME: Final = 8
_RAW_DATA: Final = 9
_EXTERNAL_DATA: Final = 13
_DATA_LOCATION: Final = 14
_LISTED: Final = (5, 7, 11)  # int32_data, int64_data, uint64_data
_PACKED: Final = {4: 4, 10: 8}  # float_data, double_data, and the bytes of one number
_TENSOR: Final = {
    **dict.fromkeys((_DIMS, *_LISTED), Kind.INTEGERS),
    **dict.fromkeys((_DATA_TYPE, _DATA_LOCATION), Kind.INTEGER),
    **dict.fromkeys((_NAME, _RAW_DATA, 12), Kind.ONCE),  # doc_string
    **dict.fromkeys((_EXTERNAL_DATA, 16), Kind.MANY),  # metadata_props
    4: Kind.FLOATS,
    10: Kind.DOUBLES,
}
# Of TensorProto.DataType: the bytes of one number.
_NUMBER_BYTES: Final = {1: 4, 2: 1, 3: 1, 4: 2, 5: 2, 6: 4, 7: 8, 9: 1, 10: 2, 11: 8, 12: 4, 13: 8, 16: 2}

_MICROSOFT: Final = "com.microsoft"
_STANDARD_DOMAINS: Final = frozenset({"", "ai.onnx"})
# What `python -m model_export` writes, for any DistilBERT, int8 or not; and Identity, which does nothing.
_OPERATORS: Final = {
    "": frozenset(
        [
            "Add",
            "Cast",
            "Div",
            "DynamicQuantizeLinear",
            "Gather",
            "Gemm",
            "Identity",
            "LayerNormalization",
            "MatMul",
            "MatMulInteger",
            "Mul",
            "ReduceSum",
            "Relu",
            "Shape",
            "Slice",
            "Unsqueeze",
        ]
    ),
    _MICROSOFT: frozenset(["Attention", "BiasGelu", "QAttention", "SkipLayerNormalization"]),
}
# Inputs whose numbers, not only whose shape, decide how large an output is.
_SIZING_INPUTS: Final[Mapping[str, Sequence[int]]] = {"Slice": (1, 2, 3, 4), "Unsqueeze": (1,), "ReduceSum": (1,)}
# From sizes these make sizes; none of them multiplies.
_KEEP_SIZES: Final = frozenset({"Cast", "Gather", "Identity", "Slice", "Unsqueeze"})
_NAME_CHARACTERS_SHOWN: Final = 60
_NOTHING: Final = memoryview(b"")


@dataclass
class _Names:
    """The values of a graph. Those in `sizes` depend on the shape of the inputs alone, never on what stands in them."""

    made: set[str] = field(default_factory=set)
    sizes: set[str] = field(default_factory=set)

    def add(self, name: str, *, is_size: bool) -> None:
        if name in self.made:
            raise WireError(f"{_quoted(name)} is made twice")
        self.made.add(name)
        if is_size:
            self.sizes.add(name)


def check_graph_file(content: bytes, path: Path) -> None:
    """Check the bytes of `model.onnx`.

    Args:
        content: all of them.
        path: named in messages.

    Raises:
        BundleError: they hold something that no export of ours writes.
    """
    try:
        _check_model(memoryview(content))
    except (WireError, UnicodeDecodeError) as error:
        reason = error if isinstance(error, WireError) else "a name is no text"
        raise BundleError(
            f"{path}: not a graph that `python -m model_export` writes: {reason}; export it with this version"
        ) from None


def _check_model(message: memoryview) -> None:
    graphs = gathered(message, _MODEL).get(_GRAPH_OF_MODEL, [])
    if not graphs:
        raise WireError("it holds no graph")
    _check_graph(_bytes(graphs[0]))


def _check_graph(graph: memoryview) -> None:
    nodes: list[memoryview] = []
    names = _Names()
    tensors = values = 0
    for number, value in fields(graph, _GRAPH):
        if number == _NODES:
            nodes.append(_bytes(value))
            _limit(len(nodes), limits.MAX_NODES, "nodes")
        elif number == _INITIALIZERS:
            tensors += 1
            _limit(tensors, limits.MAX_TENSORS, "tensors")
            names.add(_check_tensor(_bytes(value)), is_size=True)
        else:
            values += 1
            _limit(values, limits.MAX_VALUES, "declared values")
    for node in nodes:
        _check_node(node, names)


def _check_node(message: memoryview, names: _Names) -> None:
    node = gathered(message, _NODE)
    inputs, outputs = ([_text(name) for name in node.get(number, [])] for number in (_INPUT, _OUTPUT))
    operator, domain = (_text(*node.get(number, [_NOTHING])) for number in (_OP_TYPE, _DOMAIN))
    if operator not in _OPERATORS.get("" if domain in _STANDARD_DOMAINS else domain, ()):
        of_domain = f" of {_quoted(domain)}" if domain else ""
        raise WireError(f"the operator {_quoted(operator)}{of_domain} is none of those that it uses")
    for place in _SIZING_INPUTS.get(operator, ()):
        if place < len(inputs) and inputs[place] and inputs[place] not in names.sizes:
            raise WireError(f"{operator} takes a size from what stands in a text: {_quoted(inputs[place])}")
    for attribute in node.get(_ATTRIBUTES, []):
        for tensor in gathered(_bytes(attribute), _ATTRIBUTE).get(_TENSOR_OF_ATTRIBUTE, []):
            _check_tensor(_bytes(tensor))
    is_size = operator == "Shape" or (operator in _KEEP_SIZES and all(name in names.sizes for name in inputs if name))
    for name in outputs:
        if name:
            names.add(name, is_size=is_size)


def _check_tensor(message: memoryview) -> str:
    """Check that a tensor holds as many numbers as it declares, in the file itself; returns its name."""
    tensor = gathered(message, _TENSOR)
    name = _text(*tensor.get(_NAME, [_NOTHING]))
    if _EXTERNAL_DATA in tensor or tensor.get(_DATA_LOCATION, [0]) != [0]:
        raise WireError(f"the tensor {_quoted(name)} points to data outside the file")
    [data_type] = tensor.get(_DATA_TYPE, [0])
    if not isinstance(data_type, int) or data_type not in _NUMBER_BYTES:
        raise WireError(f"the tensor {_quoted(name)} is of the type {data_type}, which holds no numbers")
    declared = prod(_dimensions(tensor.get(_DIMS, [])))
    listed = sum(count_integers(value) for number in _LISTED for value in tensor.get(number, []))
    listed += sum(len(_bytes(value)) // size for number, size in _PACKED.items() for value in tensor.get(number, []))
    numbers = declared
    if _RAW_DATA in tensor:
        if listed:
            raise WireError(f"the tensor {_quoted(name)} holds its numbers in two ways")
        declared *= _NUMBER_BYTES[data_type]
        [raw] = tensor[_RAW_DATA]
        listed = len(_bytes(raw))
    if declared != listed:
        raise WireError(f"the tensor {_quoted(name)} declares {numbers:,} numbers and holds others")
    return name


def _dimensions(values: Sequence[int | memoryview]) -> Sequence[int]:
    found: list[int] = []
    for size in (size for value in values for size in integers(value)):
        # No tensor has more numbers than the file has bytes; and products stay small.
        if size > limits.MAX_MODEL_BYTES:
            raise WireError("a tensor is larger than any file may be")
        found.append(size)
        _limit(len(found), limits.MAX_DIMENSIONS, "dimensions")
    return found


def _limit(count: int, most: int, what: str) -> None:
    if count > most:
        raise WireError(f"more than {most:,} {what}")


def _bytes(value: int | memoryview) -> memoryview:
    if isinstance(value, int):
        raise WireError("a number stands where a message belongs")
    return value


def _text(value: int | memoryview) -> str:
    return bytes(_bytes(value)).decode()


def _quoted(name: str) -> str:
    return ascii(name[:_NAME_CHARACTERS_SHOWN])
