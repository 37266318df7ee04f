"""Prints the objects `template` and `adapter` that tell Mixer of us, as YAML.

`python objects.py entitlements > objects.yaml`, where the compiled modules are on PYTHONPATH, then
`mastctl apply -f objects.yaml`.
"""

from __future__ import annotations

import base64
import sys

import cloudwatch_pb2
import config_pb2
import entitlement_pb2
import stackdriver_pb2
import yaml
from compile import with_imports
from google.protobuf.descriptor import FileDescriptor

from istio.mixer.template.logentry import template_handler_service_pb2 as logentry
from istio.mixer.template.metric import template_handler_service_pb2 as metric
from istio.mixer.template.tracespan import template_handler_service_pb2 as tracespan


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


def adapter(
    name: str, description: str, params: FileDescriptor, *templates: str
) -> dict[str, object]:
    """An adapter that takes some templates."""
    spec = {
        "description": description,
        "session_based": False,
        "templates": list(templates),
        "config": encoded(params),
    }
    return described("adapter", name, spec)


def template(name: str, file: FileDescriptor) -> dict[str, object]:
    """A template: one of our own, or one that Mixer has."""
    return described("template", name, {"descriptor": encoded(file)})


OBJECTS = {
    "entitlements": (
        template("entitlement", entitlement_pb2.DESCRIPTOR),
        adapter(
            "entitlements",
            "Customers may use what their plan has.",
            config_pb2.DESCRIPTOR,
            "entitlement",
        ),
    ),
    "cloudwatch": (
        template("metric", metric.DESCRIPTOR),
        template("logentry", logentry.DESCRIPTOR),
        adapter(
            "cloudwatch",
            "Metrics and logs to CloudWatch.",
            cloudwatch_pb2.DESCRIPTOR,
            "metric",
            "logentry",
        ),
    ),
    "stackdriver": (
        template("metric", metric.DESCRIPTOR),
        template("logentry", logentry.DESCRIPTOR),
        template("tracespan", tracespan.DESCRIPTOR),
        adapter(
            "stackdriver",
            "Metrics, logs and traces to Google Cloud.",
            stackdriver_pb2.DESCRIPTOR,
            "metric",
            "logentry",
            "tracespan",
        ),
    ),
}


def main() -> None:
    """Print those of one adapter."""
    if sys.argv[1:] not in [[name] for name in OBJECTS]:
        sys.exit(f"usage: objects.py {'|'.join(OBJECTS)}")
    print(yaml.safe_dump_all(OBJECTS[sys.argv[1]], sort_keys=False), end="")


if __name__ == "__main__":
    main()
