"""The word embeddings as int8, with a scale for each word."""

from pathlib import Path
from typing import Final

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from model_export.export import INPUTS, ExportError

_LARGEST: Final = 127


def quantise_embeddings(source: Path, target: Path) -> None:
    """Store the table that the ids look up as int8 [words, dim] with float scales [words, 1]; look both up.

    onnxruntime's own quantisation of a lookup has one scale for the whole table.

    Raises:
        ExportError: no lookup by ids was found.
    """
    model = onnx.load(source)
    graph = model.graph
    tables = {initializer.name: initializer for initializer in graph.initializer}
    lookup = next((node for node in graph.node if node.op_type == "Gather" and node.input[1] == INPUTS[0]), None)
    if lookup is None or lookup.input[0] not in tables:
        raise ExportError(f"no table is looked up by {INPUTS[0]}: the embeddings cannot be quantised")
    table = tables[lookup.input[0]]
    values = numpy_helper.to_array(table)
    # A row of zeros, such as that of the padding, has no magnitude to scale by.
    scales = np.maximum(np.abs(values).max(axis=1, keepdims=True), np.finfo(np.float32).tiny) / _LARGEST
    name, output = table.name, lookup.output[0]
    position = list(graph.node).index(lookup)
    graph.node.remove(lookup)
    nodes = (
        helper.make_node("Gather", [f"{name}/int8", INPUTS[0]], [f"{name}/row"], name=f"{name}/row"),
        helper.make_node("Cast", [f"{name}/row"], [f"{name}/float"], name=f"{name}/float", to=TensorProto.FLOAT),
        helper.make_node("Gather", [f"{name}/scales", INPUTS[0]], [f"{name}/scale"], name=f"{name}/scale"),
        helper.make_node("Mul", [f"{name}/float", f"{name}/scale"], [output], name=f"{name}/value"),
    )
    for offset, node in enumerate(nodes):
        graph.node.insert(position + offset, node)
    graph.initializer.remove(table)
    graph.initializer.extend(
        (
            numpy_helper.from_array(np.round(values / scales).astype(np.int8), f"{name}/int8"),
            numpy_helper.from_array(scales.astype(np.float32), f"{name}/scales"),
        )
    )
    onnx.save(model, target)
