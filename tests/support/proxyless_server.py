"""A program: a gRPC server that gets its listener over xDS, by gRPC itself.

It answers `NAME heard TEXT from IDENTITY`. Run it with GRPC_XDS_BOOTSTRAP set:
`proxyless_server NAME ADDRESS [secure]`. It writes `serving` when it is told to serve.
"""

import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc


class Echo(grpc.GenericRpcHandler):  # type: ignore[misc]  # the library has no types for it
    """Answers every method."""

    def __init__(self, name: str) -> None:
        self._name = name

    def service(self, call: Any) -> Any:
        """The one behaviour."""
        del call
        return grpc.unary_unary_rpc_method_handler(self._say)

    def _say(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        peers = b",".join(context.peer_identities() or ()).decode()
        return f"{self._name} heard {request.decode()} from {peers}".encode()


def main() -> None:
    """Serve until the input ends."""
    name, address, *options = sys.argv[1:]
    server = grpc.server(ThreadPoolExecutor(8), handlers=(Echo(name),), xds=True)
    if options:
        fallback = grpc.insecure_server_credentials()
        server.add_secure_port(address, grpc.xds_server_credentials(fallback))
    else:
        server.add_insecure_port(address)
    server.start()
    sys.stdout.write("serving\n")
    sys.stdout.flush()
    sys.stdin.read()
    server.stop(None).wait()


if __name__ == "__main__":
    main()
