"""Configuration that Istio's proxies evaluated themselves, and Mixer does for Envoy (C17, C18)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from mast.mixer.core import api_specs, quota_specs
from mast.mixer.core.api_specs import ApiSpecs
from mast.mixer.core.quota_specs import QuotaSpecs

COLLECTIONS = frozenset(
    {api_specs.SPECS, api_specs.BINDINGS, quota_specs.SPECS, quota_specs.BINDINGS}
)


@dataclass(frozen=True)
class ClientConfig:
    """Quotas and APIs as they are at one moment.

    ``configuration`` names all that verdicts are made by at that moment, rules as well: proxies
    forget the verdicts that they keep when it changes. Replicas of Mixer call the same the same.
    """

    quotas: QuotaSpecs = field(default_factory=QuotaSpecs)
    apis: ApiSpecs = field(default_factory=ApiSpecs)
    configuration: str = ""

    def with_object(self, collection: str, name: tuple[str, str], message: Any) -> ClientConfig:
        """The same with one object put in place, or taken out if it is None.

        ``collection`` is one of :data:`COLLECTIONS`, ``name`` namespace and name.
        """
        if collection in {quota_specs.SPECS, quota_specs.BINDINGS}:
            return replace(self, quotas=self.quotas.with_object(collection, name, message))
        return replace(self, apis=self.apis.with_object(collection, name, message))
