"""Mixer's configuration from YAML, as it comes out of the store, and an engine without a loop."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from typing import Any, TypeVar

import yaml
from google.protobuf.json_format import ParseDict

from istio.mcp.v1alpha1.resource_pb2 import Resource
from mast.common.keys import config_key
from mast.common.kinds import BY_GROUP_KIND
from mast.mixer.adapters.catalog import Edges, adapters
from mast.mixer.adapters.listchecker import Fetched
from mast.mixer.core.adapter import Adapter
from mast.mixer.core.check import check
from mast.mixer.core.config.entry import Entry
from mast.mixer.core.config.snapshot import EMPTY, Snapshot, compile_snapshot
from mast.mixer.core.dispatch import Notes, Routing, Session, failure
from mast.mixer.core.engine import CheckVerdict, QuotaAsk
from mast.mixer.core.preprocess import Preprocessing
from mast.mixer.core.report import Reporter
from mast.mixer.core.series import Registry
from mast.mixer.core.templates import TEMPLATES, Template
from mast.mixer.core.values import Attributes
from mast.mixer.core.workloads import Workloads

T = TypeVar("T")

NOW = datetime(2020, 1, 31, 10, 0, tzinfo=UTC)
DEFAULTS = files("mast.mixer") / "defaults"
TELEMETRY = (DEFAULTS / "telemetry.yaml").read_text()
ACCESS_LOG = (DEFAULTS / "access-log.yaml").read_text()


@cache
def documents(text: str) -> list[dict[str, Any]]:
    """The YAML documents of a text that are not empty."""
    return [document for document in yaml.safe_load_all(text) if document]


def entry(document: Mapping[str, Any]) -> Entry:
    """A configuration object; group ``config.istio.io`` and namespace may be left out."""
    metadata = document["metadata"]
    group = document.get("apiVersion", "config.istio.io/").partition("/")[0]
    kind = BY_GROUP_KIND[group, document["kind"]]
    spec = ParseDict(document.get("spec", {}), kind.message())
    return Entry(
        document["kind"],
        metadata.get("namespace", "istio-system"),
        metadata["name"],
        spec,
        metadata.get("annotations", {}),
    )


def entries(*texts: str) -> list[Entry]:
    """All objects of some YAML texts."""
    return [entry(document) for text in texts for document in documents(text)]


def stored(*texts: str) -> dict[str, bytes]:
    """The same objects as Galley stores them: key to Resource."""
    found: dict[str, bytes] = {}
    for each in entries(*texts):
        kind = next(k for (_, name), k in BY_GROUP_KIND.items() if name == each.kind)
        resource = Resource()
        resource.metadata.name = f"{each.namespace}/{each.name}"
        resource.metadata.annotations.update(each.annotations)
        resource.body.Pack(each.spec)
        key = config_key(kind.collection, each.namespace, each.name)
        found[key] = resource.SerializeToString(deterministic=True)
    return found


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


async def no_answer(url: str) -> Fetched:
    raise OSError(f"could not fetch {url}")


def run(session: Session[T]) -> T:
    """Drive a session whose handlers answer at once."""
    try:
        calls = next(session)
        while True:
            outcomes = []
            for call in calls:
                try:
                    outcomes.append(call.invoke())
                except Exception as error:  # noqa: BLE001  as the engine does
                    outcomes.append(failure(error))
            calls = session.send(outcomes)
    except StopIteration as done:
        result: T = done.value
        return result


class Rig:
    """Everything between a request's attributes and the adapters, without a loop or a server."""

    def __init__(
        self,
        *texts: str,
        extra: Iterable[Adapter] = (),
        templates: Iterable[Template] = (),
        workloads: Workloads | None = None,
        now: Callable[[], datetime] = lambda: NOW,
        max_series: int = 1000,
    ) -> None:
        self.clock = Clock()
        self.registry = Registry(max_series)
        self.workloads = workloads or Workloads()
        edges = Edges(now, self.clock, no_answer, self.registry, self.workloads)
        self.adapters = {**adapters(edges), **{each.name: each for each in extra}}
        self.templates = {**TEMPLATES, **{each.name: each for each in templates}}
        self.handlers: dict[str, Any] = {}
        self.snapshot: Snapshot = EMPTY
        self.configure(*texts)

    def configure(self, *texts: str) -> None:
        """Compile a configuration and build all of its handlers anew."""
        self.snapshot = compile_snapshot(
            entries(*texts), self.templates, self.adapters, self.snapshot
        )
        self.handlers = {
            fqn: used.handler.adapter.build(used.config)
            for fqn, used in self.snapshot.handlers.items()
        }
        self.routing = Routing(self.snapshot, self.handlers, "istio-system")
        self.preprocessing = Preprocessing(self.routing, self.snapshot.expressions.types)
        self.reporter = Reporter(self.routing, self.snapshot.expressions.types)
        self.notes = Notes()

    @property
    def problems(self) -> list[str]:
        return [str(problem) for problem in self.snapshot.problems]

    def check(
        self,
        attributes: Attributes | None = None,
        quotas: Mapping[str, QuotaAsk] | None = None,
        id: str = "",
    ) -> CheckVerdict:
        asked = attributes or {}
        return run(check(self.routing, self.preprocessing, asked, quotas or {}, id, self.notes))

    def report(self, *records: Attributes) -> Sequence[str]:
        return run(self.reporter.report(records, self.notes))
