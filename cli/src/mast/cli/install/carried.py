"""What a running control plane decided about its webhooks: an installation leaves it so.

Helm's ``lookup`` does the same in the chart, where a cluster is asked while it is rendered.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from mast.cli.install.manifests import Object

_VALIDATING: Final = "ValidatingWebhookConfiguration"
_MUTATING: Final = "MutatingWebhookConfiguration"
_SELECTORS: Final = ("namespaceSelector", "objectSelector")


def carried(wanted: Object, live: Mapping[str, Any] | None) -> Object:
    """An object to apply, with what is to stay of the one that is there.

    Galley closes validating webhooks once they are seen to judge (docs/webhooks.md); ``mastctl tag
    set default`` switches off webhooks of the revision ``default`` (docs/revisions.md).
    """
    if live is None or wanted["kind"] not in {_VALIDATING, _MUTATING}:
        return wanted
    there = {each["name"]: each for each in live.get("webhooks") or ()}
    webhooks = [
        {**each, **_kept(wanted["kind"], there.get(each["name"], {}))}
        for each in wanted["webhooks"]
    ]
    return {**wanted, "webhooks": webhooks}


def _kept(kind: str, live: Mapping[str, Any]) -> Object:
    from mast.galley.core.injection.tags import DEACTIVATED

    if kind == _VALIDATING:
        return {"failurePolicy": live["failurePolicy"]} if "failurePolicy" in live else {}
    if (live.get("namespaceSelector") or {}).get("matchLabels") != DEACTIVATED:
        return {}
    return {name: live[name] for name in _SELECTORS}
