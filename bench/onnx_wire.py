"""The little of ONNX's file format that measuring needs, without the onnx package: read nodes, add outputs, one MatMul.

An ONNX file is a protocol buffer. A message appended to another is merged with it: outputs are added to a graph
without reading the rest. Source: protobuf.dev/programming-guides/encoding, onnx/onnx:onnx/onnx.proto.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_GRAPH = 7
_NODE, _GRAPH_NAME, _GRAPH_INPUT, _GRAPH_OUTPUT = 1, 2, 11, 12
_NODE_INPUT, _NODE_OUTPUT, _NODE_OP = 1, 2, 4
_IR_VERSION, _OPSET = 8, 18
_FLOAT = 1


class Node(NamedTuple):
    """One operation of a graph."""

    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def nodes(model: bytes) -> list[Node]:
    """Return the nodes of an ONNX model's main graph, in order. Raises ValueError where it is none."""
    found = []
    for number, graph in _fields(model):
        if number == _GRAPH and isinstance(graph, bytes):
            found += [_node(value) for number, value in _fields(graph) if number == _NODE and isinstance(value, bytes)]
    return found


def with_outputs(model: bytes, names: Sequence[str]) -> bytes:
    """Return `model` with the inner values `names` among its outputs; the runtime finds out their types."""
    outputs = b"".join(_message(_GRAPH_OUTPUT, _message(1, name.encode())) for name in names)
    return model + _message(_GRAPH, outputs)


def matmul_model(side: int) -> bytes:
    """Return a model that multiplies `a` and `b`, float32 [side, side] each, into `c`."""
    node = b"".join(_message(_NODE_INPUT, name) for name in (b"a", b"b"))
    node += _message(_NODE_OUTPUT, b"c") + _message(_NODE_OP, b"MatMul")
    graph = _message(_NODE, node) + _message(_GRAPH_NAME, b"gemm")
    graph += b"".join(_message(_GRAPH_INPUT, _square(name, side)) for name in (b"a", b"b"))
    graph += _message(_GRAPH_OUTPUT, _square(b"c", side))
    opset = _message(8, _tag(2, _VARINT) + _varint(_OPSET))
    return _tag(1, _VARINT) + _varint(_IR_VERSION) + _message(_GRAPH, graph) + opset


def _square(name: bytes, side: int) -> bytes:
    shape = 2 * _message(1, _tag(1, _VARINT) + _varint(side))
    tensor = _tag(1, _VARINT) + _varint(_FLOAT) + _message(2, shape)
    return _message(1, name) + _message(2, _message(1, tensor))


def _node(data: bytes) -> Node:
    texts: dict[int, list[str]] = {_NODE_INPUT: [], _NODE_OUTPUT: [], _NODE_OP: []}
    for number, value in _fields(data):
        if number in texts and isinstance(value, bytes):
            texts[number].append(value.decode())
    return Node("".join(texts[_NODE_OP]), tuple(texts[_NODE_INPUT]), tuple(texts[_NODE_OUTPUT]))


def _fields(data: bytes) -> Iterator[tuple[int, bytes | int]]:
    """Yield number and value of each field of a message."""
    at = 0
    try:
        while at < len(data):
            tag, at = _read_varint(data, at)
            kind = tag & 7
            if kind == _VARINT:
                value, at = _read_varint(data, at)
                yield tag >> 3, value
                continue
            if kind == _BYTES:
                size, at = _read_varint(data, at)
            else:
                size = {_FIXED64: 8, _FIXED32: 4}[kind]
            if at + size > len(data):
                raise IndexError
            yield tag >> 3, data[at : at + size]
            at += size
    except (IndexError, KeyError):
        raise ValueError("not an ONNX model, or a damaged one") from None


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def _tag(number: int, kind: int) -> bytes:
    return _varint(number << 3 | kind)


def _message(number: int, data: bytes) -> bytes:
    return _tag(number, _BYTES) + _varint(len(data)) + data
