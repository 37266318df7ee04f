"""Private keys and passwords leave Pilot for nobody's eyes (pilot.md M2).

Envoy's messages say themselves which of their fields are sensitive; texts that hold a private key
in PEM, or a secret JSON Web Key, are, wherever they stand.
"""

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Any, Final

from google.protobuf import symbol_database
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message
from udpa.annotations import sensitive_pb2

from mast.common.process.redaction import REDACTED, without_passwords

_PRIVATE: Final = "PRIVATE KEY-----"
_BASE64_PEM: Final = "LS0tLS1CRUdJTi"
"""How PEM in base64 begins."""
_SECRET_JWK: Final = re.compile(r'"(?:k|d|p|q|dp|dq|qi|oth)"\s*:')
"""Members of symmetric and private keys (RFC 7518 §6)."""

_SYMBOLS: Final = symbol_database.Default()


def redact(message: Message) -> None:
    """Replace what is sensitive in a message, and in messages packed in it.

    What is packed and cannot be unpacked is left as it is: Envoy would refuse it.
    """
    if isinstance(message, AnyMessage):
        _redact_packed(message)
        return
    for field, value in message.ListFields():
        if _is_sensitive(field):
            _blank(message, field, value)
        elif field.message_type is not None:
            for each in _messages(field, value):
                redact(each)
        elif isinstance(value, str) and _holds_key(value):
            setattr(message, field.name, REDACTED)


def plain_redacted(value: Any) -> Any:
    """JSON without private keys and passwords.

    Texts that hold a key, as PEM or in base64, are replaced; of URLs the password is.
    """
    if isinstance(value, Mapping):
        return {key: plain_redacted(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain_redacted(each) for each in value]
    if not isinstance(value, str):
        return value
    return REDACTED if _holds_key(value) else without_passwords(value)


def _redact_packed(packed: AnyMessage) -> None:
    try:
        inner = _SYMBOLS.GetSymbol(packed.type_url.rpartition("/")[2])()
        inner.ParseFromString(packed.value)
    except (KeyError, DecodeError):
        return
    redact(inner)
    packed.value = inner.SerializeToString(deterministic=True)


def _is_sensitive(field: FieldDescriptor) -> bool:
    options = field.GetOptions()
    return bool(options.Extensions[sensitive_pb2.sensitive])


def _messages(field: FieldDescriptor, value: Any) -> list[Message]:
    """The messages in a field: one, several, or the values of a map."""
    if not field.is_repeated:
        return [value]
    kind = field.message_type
    if kind is not None and kind.GetOptions().map_entry:
        of_messages = kind.fields_by_name["value"].message_type is not None
        return list(value.values()) if of_messages else []
    return list(value)


def _blank(message: Message, field: FieldDescriptor, value: Any) -> None:
    """Replace every text and all bytes in a sensitive field."""
    if field.message_type is not None:
        for each in _messages(field, value):
            for inner, content in each.ListFields():
                _blank(each, inner, content)
    elif field.type in (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES):
        text = field.type == FieldDescriptor.TYPE_STRING
        blank: Any = REDACTED if text else REDACTED.encode()
        if field.is_repeated:
            value[:] = [blank] * len(value)
        else:
            setattr(message, field.name, blank)


def _holds_key(text: str) -> bool:
    if _PRIVATE in text or ('"kty"' in text and _SECRET_JWK.search(text)):
        return True
    if _BASE64_PEM not in text:
        return False
    try:
        return _PRIVATE.encode() in base64.b64decode(text, validate=False)
    except (binascii.Error, ValueError):
        return True
