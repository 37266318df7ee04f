"""Prints the objects `template` and `adapter` that tell Mixer of us, as YAML.

Run it where the compiled modules are on PYTHONPATH: `python objects.py | mastctl apply -f -`.
"""

from __future__ import annotations

import base64

import config_pb2
import entitlement_pb2
import yaml
from compile import with_imports
from google.protobuf.descriptor import FileDescriptor


def encoded(file: FileDescriptor) -> str:
    """A file with all that it imports, as objects hold it."""
    return base64.b64encode(with_imports(file).SerializeToString()).decode()


def described(kind: str, name: str, spec: dict[str, object]) -> dict[str, object]:
    """An object of Mixer's configuration, for all namespaces."""
    return {
        "apiVersion": "config.istio.io/v1alpha2",
        "kind": kind,
        "metadata": {"name": name, "namespace": "istio-system"},
        "spec": spec,
    }


def main() -> None:
    """Print them."""
    template = {"descriptor": encoded(entitlement_pb2.DESCRIPTOR)}
    adapter = {
        "description": "Customers may use what their plan has.",
        "session_based": False,
        "templates": ["entitlement"],
        "config": encoded(config_pb2.DESCRIPTOR),
    }
    objects = [
        described("template", "entitlement", template),
        described("adapter", "entitlements", adapter),
    ]
    print(yaml.safe_dump_all(objects, sort_keys=False), end="")


if __name__ == "__main__":
    main()
