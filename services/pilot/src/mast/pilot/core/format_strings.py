"""Format strings of headers and access logs: text with commands between percent signs."""

import json
import re
from collections.abc import Mapping
from typing import Final

_ADDRESSES: Final = "LOCAL REMOTE DIRECT_LOCAL DIRECT_REMOTE"
_COUNTERS: Final = (
    "WIRE_BYTES_SENT WIRE_BYTES_RECEIVED HEADER_BYTES_SENT HEADER_BYTES_RECEIVED "
    "DECOMPRESSED_HEADER_BYTES_SENT DECOMPRESSED_HEADER_BYTES_RECEIVED"
)
_COMMON: Final = """
    ACCESS_LOG_TYPE BYTES_RECEIVED BYTES_RETRANSMITTED BYTES_SENT CONNECTION_ID
    CONNECTION_TERMINATION_DETAILS CUSTOM_FLAGS DURATION EMIT_TIME EMIT_TIME_LOCAL
    FILTER_CHAIN_NAME GRPC_STATUS GRPC_STATUS_NUMBER HOSTNAME LOCAL_REPLY_BODY
    PACKETS_RETRANSMITTED PATH PROTOCOL QUERY_PARAMS REQUESTED_SERVER_NAME REQUEST_DURATION
    REQUEST_HEADERS_BYTES REQUEST_TX_DURATION RESPONSE_CODE RESPONSE_CODE_DETAILS
    RESPONSE_DURATION RESPONSE_FLAGS RESPONSE_FLAGS_LONG RESPONSE_HEADERS_BYTES
    RESPONSE_TRAILERS_BYTES RESPONSE_TX_DURATION ROUNDTRIP_DURATION ROUTE_NAME SPAN_ID START_TIME
    START_TIME_LOCAL STREAM_ID TLS_JA3_FINGERPRINT TLS_JA4_FINGERPRINT TRACE_ID UNIQUE_ID
    VIRTUAL_CLUSTER_NAME
"""
_DOWNSTREAM: Final = """
    DETECTED_CLOSE_TYPE HANDSHAKE_DURATION LOCAL_ADDRESS_ENDPOINT_ID LOCAL_CLOSE_REASON
    LOCAL_DNS_SAN LOCAL_EMAIL_SAN LOCAL_IP_SAN LOCAL_OTHERNAME_SAN LOCAL_SUBJECT LOCAL_URI_SAN
    PEER_CERT PEER_CERT_V_END PEER_CERT_V_START PEER_CHAIN_FINGERPRINTS_1
    PEER_CHAIN_FINGERPRINTS_256 PEER_CHAIN_SERIALS PEER_DNS_SAN PEER_EMAIL_SAN PEER_FINGERPRINT_1
    PEER_FINGERPRINT_256 PEER_IP_SAN PEER_ISSUER PEER_OTHERNAME_SAN PEER_SERIAL PEER_SUBJECT
    PEER_URI_SAN TLS_CIPHER TLS_SESSION_ID TLS_VERSION TRANSPORT_FAILURE_REASON
"""
_UPSTREAM: Final = """
    CLUSTER CLUSTER_RAW CONNECTION_ID CONNECTION_IDS_ATTEMPTED CONNECTION_POOL_READY_DURATION
    DETECTED_CLOSE_TYPE HOST HOSTS_ATTEMPTED HOSTS_ATTEMPTED_WITHOUT_PORT HOST_NAME
    HOST_NAMES_ATTEMPTED HOST_NAMES_ATTEMPTED_WITHOUT_PORT HOST_NAME_WITHOUT_PORT
    LOCAL_CLOSE_REASON LOCAL_DNS_SAN LOCAL_IP_SAN LOCAL_URI_SAN PEER_CERT PEER_CERT_V_END
    PEER_CERT_V_START PEER_DNS_SAN PEER_IP_SAN PEER_ISSUER PEER_SUBJECT PEER_URI_SAN PROTOCOL
    REQUEST_ATTEMPT_COUNT SERVER_NAME TLS_CIPHER TLS_SESSION_ID TLS_VERSION
    TRANSPORT_FAILURE_REASON
"""

COMMANDS: Final = frozenset(
    [
        *_COMMON.split(),
        *(f"DOWNSTREAM_{each}" for each in f"{_DOWNSTREAM} {_COUNTERS}".split()),
        *(f"UPSTREAM_{each}" for each in f"{_UPSTREAM} {_COUNTERS}".split()),
        *(
            f"{side}_{part}"
            for side in [
                *(f"DOWNSTREAM_{each}" for each in _ADDRESSES.split()),
                "UPSTREAM_LOCAL",
                "UPSTREAM_REMOTE",
            ]
            for part in ("ADDRESS", "ADDRESS_WITHOUT_PORT", "PORT")
        ),
    ]
)
"""Commands that Envoy 1.40 accepts without an argument."""

_HEADER_NAME: Final = r":?[-!#$&'*+.^_`|~0-9A-Za-z]+"
_HEADER: Final = rf"{_HEADER_NAME}(?:\?{_HEADER_NAME})?"
_FILTER_STATE: Final = r"[^:()]+(?::(?:PLAIN|TYPED|FIELD:[^:()]+))?"
_ANYTHING: Final = r"[^)]+"

_OF_HEADERS: Final = "REQ REQUEST_HEADER RESP RESPONSE_HEADER RESPONSE_TRAILER TRAILER"
_OF_FILTER_STATE: Final = "FILTER_STATE UPSTREAM_FILTER_STATE"
_OF_ANYTHING: Final = """
    CLUSTER_METADATA DYNAMIC_METADATA EMIT_TIME EMIT_TIME_LOCAL ENVIRONMENT QUERY_PARAM
    START_TIME START_TIME_LOCAL UPSTREAM_METADATA
"""
COMMANDS_OF_SOMETHING: Final[Mapping[str, str]] = {
    **dict.fromkeys(_OF_HEADERS.split(), _HEADER),
    **dict.fromkeys(_OF_FILTER_STATE.split(), _FILTER_STATE),
    **dict.fromkeys(_OF_ANYTHING.split(), _ANYTHING),
}
"""Commands that Envoy 1.40 accepts with an argument, and patterns of the arguments."""

_LENGTH: Final = r"(?::\d{1,9})?"
_ESCAPED_OR_COMMAND: Final = re.compile(
    rf"%(?:%|(?:{'|'.join(sorted(COMMANDS))}){_LENGTH}%"
    + "".join(
        rf"|{command}\({argument}\){_LENGTH}%"
        for command, argument in sorted(COMMANDS_OF_SOMETHING.items())
    )
    + ")?"
)
_OLD_METADATA: Final = re.compile(r"%(UPSTREAM|DYNAMIC)_METADATA\((\[[^\]]*\])\)%")
_OLD_STATE: Final = re.compile(r"%PER_REQUEST_STATE\(([^:()]+)\)%")


def format_string(text: str) -> str:
    """A text as Envoy takes it: a percent sign that begins no command it knows stands for itself.

    Envoy refuses a whole route configuration or listener for a text like `50%`. Old forms that it
    understands, but warns of, are written in the new way.
    Differs from Istio: there such a text reaches Envoy.
    """
    modern = _OLD_METADATA.sub(_metadata, _OLD_STATE.sub(r"%FILTER_STATE(\1:PLAIN)%", text))
    return _ESCAPED_OR_COMMAND.sub(lambda found: "%%" if found[0] == "%" else found[0], modern)


def _metadata(found: re.Match[str]) -> str:
    """`%UPSTREAM_METADATA(["a", "b"])%` with colons instead of JSON."""
    try:
        path = ":".join(json.loads(found[2]))
    except (ValueError, TypeError):
        return found[0]
    return f"%{found[1]}_METADATA({path})%"
