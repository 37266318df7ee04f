"""Looks at single fields of a serialised message without parsing it (protobuf encoding)."""

from typing import Final

_VARINT: Final = 0
_FIXED64: Final = 1
_BYTES: Final = 2
_FIXED32: Final = 5


def peek(data: bytes, *numbers: int) -> dict[int, bytes]:
    """The last length-delimited value of each of the fields ``numbers`` that is present.

    Costs a few steps per field of the outermost message, whatever the fields contain. Raises
    ValueError if the bytes are no message.
    """
    found: dict[int, bytes] = {}
    position, end = 0, len(data)
    while position < end:
        tag, position = _varint(data, position)
        kind = tag & 7
        if kind == _BYTES:
            length, position = _varint(data, position)
            if tag >> 3 in numbers:
                found[tag >> 3] = data[position : position + length]
            position += length
        elif kind == _VARINT:
            _, position = _varint(data, position)
        elif kind == _FIXED64:
            position += 8
        elif kind == _FIXED32:
            position += 4
        else:
            raise ValueError(f"byte {position}: wire type {kind} is not allowed")
    if position != end:
        raise ValueError(f"message ends at byte {end}, a field at {position}")
    return found


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if position >= len(data) or shift > 63:
            raise ValueError(f"byte {position}: unfinished number")
        byte = data[position]
        position += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, position
        shift += 7
