"""Protobuf's wire format, for messages that are put together from serialised parts."""


def text_field(number: int, value: str) -> bytes:
    """A field of type string; nothing if it is empty."""
    return bytes_field(number, value.encode())


def bytes_field(number: int, value: bytes) -> bytes:
    """A length-delimited field (wire type 2); nothing if it is empty."""
    return field_header(number, len(value)) + value if value else b""


def field_header(number: int, size: int) -> bytes:
    """Tag and length of a length-delimited field."""
    return _varint(number << 3 | 2) + _varint(size)


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
