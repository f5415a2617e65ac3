"""Writes a small ONNX file without the `onnx` package: the few protobuf fields of onnx.proto3 that a graph needs."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

_FLOAT, _INT64 = 1, 7  # TensorProto.DataType
_ATTRIBUTE_INT = 2  # AttributeProto.AttributeType


def model(graph: bytes, *, opset: int) -> bytes:
    """A ModelProto; IR version 8 belongs to the opsets 15 to 18."""
    return _field(1, 8) + _field(7, graph) + _field(8, _field(1, b"") + _field(2, opset))


def graph(nodes: Sequence[bytes], tensors: Sequence[bytes], inputs: Sequence[bytes], outputs: Sequence[bytes]) -> bytes:
    """A GraphProto."""
    return b"".join(
        [
            *(_field(1, node) for node in nodes),
            _field(2, b"graph"),
            *(_field(5, tensor) for tensor in tensors),
            *(_field(11, value) for value in inputs),
            *(_field(12, value) for value in outputs),
        ]
    )


def node(
    operator: str, inputs: Sequence[str], outputs: Sequence[str], attributes: Mapping[str, int] | None = None
) -> bytes:
    """A NodeProto; attributes are integers."""
    return b"".join(
        [
            *(_field(1, name.encode()) for name in inputs),
            *(_field(2, name.encode()) for name in outputs),
            _field(4, operator.encode()),
            *(
                _field(5, _field(1, name.encode()) + _field(3, value) + _field(20, _ATTRIBUTE_INT))
                for name, value in (attributes or {}).items()
            ),
        ]
    )


def tensor(name: str, values: NDArray[np.float32] | NDArray[np.int64]) -> bytes:
    """A TensorProto with raw data."""
    data_type = _INT64 if values.dtype == np.int64 else _FLOAT
    dims = b"".join(_field(1, size) for size in values.shape)
    return dims + _field(2, data_type) + _field(8, name.encode()) + _field(9, values.tobytes())


def int64_value(name: str, dims: Sequence[str | int]) -> bytes:
    """A ValueInfoProto of 64-bit integers; a dimension is a size or a symbol."""
    return _value(name, _INT64, dims)


def float_value(name: str, dims: Sequence[str | int]) -> bytes:
    """A ValueInfoProto of 32-bit floats; a dimension is a size or a symbol."""
    return _value(name, _FLOAT, dims)


def _value(name: str, data_type: int, dims: Sequence[str | int]) -> bytes:
    shape = b"".join(_field(1, _field(1, dim) if isinstance(dim, int) else _field(2, dim.encode())) for dim in dims)
    return _field(1, name.encode()) + _field(2, _field(1, _field(1, data_type) + _field(2, shape)))


def _field(number: int, value: int | bytes) -> bytes:
    """One protobuf field: a varint, or bytes with their length before them."""
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    groups = bytearray()
    while value > 0x7F:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*groups, value])
