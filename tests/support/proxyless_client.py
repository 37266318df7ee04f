"""A program: gRPC calls to a target, resolved over xDS by gRPC itself.

Each line of input is a JSON object: `text`, `metadata`, `method` (a name), `count` calls, `timeout`
in seconds for each. Each line of output counts the answers, or statuses with their details. Run it
with GRPC_XDS_BOOTSTRAP set: `proxyless_client TARGET [secure]`.
"""

import json
import sys
from collections import Counter
from typing import Any

import grpc
import grpc.experimental


def main() -> None:
    """Call the target until the input ends."""
    target, *options = sys.argv[1:]
    plain = grpc.insecure_channel
    if options:
        credentials = grpc.xds_channel_credentials(grpc.experimental.insecure_channel_credentials())
        channel = grpc.secure_channel(target, credentials)
    else:
        channel = plain(target)
    with channel:
        for line in sys.stdin:
            asked = json.loads(line)
            told = Counter(_answer(channel, asked) for _ in range(asked.get("count", 1)))
            sys.stdout.write(json.dumps(told) + "\n")
            sys.stdout.flush()


def _answer(channel: grpc.Channel, asked: dict[str, Any]) -> str:
    call = channel.unary_unary(f"/test.Echo/{asked.get('method', 'Say')}")
    try:
        answer: bytes = call(
            asked.get("text", "").encode(),
            timeout=asked.get("timeout", 20),
            metadata=list(asked.get("metadata", {}).items()),
        )
    except grpc.RpcError as error:
        return f"{error.code().name} {error.details()}"
    return answer.decode()


if __name__ == "__main__":
    main()
