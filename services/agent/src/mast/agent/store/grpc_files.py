"""What gRPC libraries of the application read that speak xDS themselves (pilot.md B29)."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from mast.agent.config import Config
from mast.agent.core import paths
from mast.agent.core.grpc_bootstrap import grpc_bootstrap
from mast.agent.core.node import Node
from mast.agent.store import files


@contextmanager
def bootstrap_file(config: Config, node: Node, xds_socket: str) -> Iterator[None]:
    """Tell them where xDS is, if asked (``GRPC_XDS_BOOTSTRAP``), until the end of the block."""
    if not config.grpc_bootstrap:
        yield
        return
    path = Path(config.grpc_bootstrap)
    certificates = str(Path(config.output_certs).absolute()) if config.output_certs else ""
    content = grpc_bootstrap(node, str(Path(xds_socket).absolute()), certificates)
    files.write_atomically(path, json.dumps(content).encode(), 0o644)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def missing(config: Config) -> Sequence[str]:
    """Why a program should not start yet: libraries look for these files once, at their start."""
    if not config.grpc_bootstrap:
        return ()
    needed = [config.grpc_bootstrap]
    if config.output_certs:
        needed.append(f"{config.output_certs}/{paths.CHAIN_FILE}")
    return [f"there is no {each} yet" for each in needed if not Path(each).exists()]
