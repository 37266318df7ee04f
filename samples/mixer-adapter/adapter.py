"""An adapter out of process: customers may use what their plan has.

`python adapter.py --listen HOST:PORT`, where the compiled modules are on PYTHONPATH. With
`--certificate`, `--key` and `--authorities` it takes callers with certificates only.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
from pathlib import Path

import config_pb2
import entitlement_pb2
import entitlement_pb2_grpc
import grpc
from google.rpc import code_pb2

from istio.mixer.adapter.model.v1beta1 import check_pb2

VALID_SECONDS, VALID_USES = 60, 10_000


def complaint(params: config_pb2.Params, customer: str, path: str) -> tuple[int, str]:
    """Why a customer may not use a path, as a code and a text; OK and "" if that is fine."""
    if not customer:
        return code_pb2.UNAUTHENTICATED, "who are you?"
    for plan in params.plans:
        if customer in plan.customers:
            if path.startswith(tuple(plan.paths)):
                return code_pb2.OK, ""
            return code_pb2.PERMISSION_DENIED, f"plan {plan.name} of {customer} has no {path}"
    return code_pb2.PERMISSION_DENIED, f"{customer} has no plan"


class Entitlements(entitlement_pb2_grpc.HandleEntitlementServiceServicer):
    """The service that Mixer calls."""

    async def HandleEntitlement(
        self,
        request: entitlement_pb2.HandleEntitlementRequest,
        context: grpc.aio.ServicerContext,
    ) -> check_pb2.CheckResult:
        """The verdict, and how long proxies may remember it.

        Parameters come with every call: there is no state, so there may be many of us.
        """
        params = config_pb2.Params()
        if not request.adapter_config.Unpack(params):
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "adapter_config: want Params")
        code, message = complaint(params, request.instance.customer, request.instance.path)
        verdict = check_pb2.CheckResult(valid_use_count=VALID_USES)
        verdict.status.code, verdict.status.message = code, message
        verdict.valid_duration.seconds = VALID_SECONDS
        return verdict


def credentials(arguments: argparse.Namespace) -> grpc.ServerCredentials | None:
    """Mutual TLS if there is a certificate."""
    if not arguments.certificate:
        return None
    return grpc.ssl_server_credentials(
        [(arguments.key.read_bytes(), arguments.certificate.read_bytes())],
        arguments.authorities.read_bytes(),
        require_client_auth=True,
    )


async def serve(arguments: argparse.Namespace) -> None:
    """Answer until SIGTERM."""
    server = grpc.aio.server()
    entitlement_pb2_grpc.add_HandleEntitlementServiceServicer_to_server(Entitlements(), server)
    secure = credentials(arguments)
    if secure is None:
        port = server.add_insecure_port(arguments.listen)
    else:
        port = server.add_secure_port(arguments.listen, secure)
    await server.start()
    print(f"listening on {arguments.listen.rpartition(':')[0]}:{port}", flush=True)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()
    await server.stop(grace=5)


def main() -> None:
    """Parse flags and serve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--listen", default="127.0.0.1:50051", help="HOST:PORT; port 0: any")
    for name in ("certificate", "key", "authorities"):
        parser.add_argument(f"--{name}", type=Path, help="a PEM file")
    arguments = parser.parse_args()
    tls = (arguments.certificate, arguments.key, arguments.authorities)
    if any(tls) and not all(tls):
        parser.error("--certificate, --key and --authorities belong together")
    asyncio.run(serve(arguments))


if __name__ == "__main__":
    main()
