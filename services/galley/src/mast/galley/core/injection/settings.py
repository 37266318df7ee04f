"""Everything injection goes by beside the pod: mesh configuration, values, the injector's own."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from google.protobuf.json_format import MessageToDict

from istio.mesh.v1alpha1.config_pb2 import MeshConfig
from istio.mesh.v1alpha1.proxy_pb2 import ProxyConfig
from mast.galley.core.decode import decode
from mast.galley.core.documents import from_json
from mast.galley.core.injection.refusal import InjectionRefused, shortened
from mast.galley.core.injection.trees import parsed
from mast.galley.core.injection.values import Object, Values, value_at
from mast.galley.core.problem import Path, path_text

BUILT_IN: Final = ("sidecar", "gateway", "grpc-simple", "grpc-agent")
NATIVE_SINCE: Final = (1, 33)
"""The first kubelets on which proxies are native sidecars unless somebody says otherwise (C2)."""

_VERSION: Final = re.compile(r"v?(\d{1,4})\.(\d{1,4})")
_WEBHOOK: Final = "sidecarInjectorWebhook"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What holds for every pod. ``mesh`` is MeshConfig as JSON, checked.

    ``templates`` are overlays of pods by name, beside the built-in ones; ``aliases`` stand for
    several templates. ``kubelets`` are the versions of the cluster's nodes, as they tell them.
    """

    values: Values = field(default_factory=Values)
    mesh: Object = field(default_factory=dict)
    enabled: bool = True
    default_templates: tuple[str, ...] = ("sidecar",)
    templates: Mapping[str, Object] = field(default_factory=dict)
    aliases: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    never: tuple[Object, ...] = ()
    always: tuple[Object, ...] = ()
    annotations: Mapping[str, str] = field(default_factory=dict)
    kubelets: tuple[str, ...] = ()

    @property
    def revision(self) -> str:
        """The revision whose control plane the pod gets."""
        return self.values.revision or "default"

    @property
    def control_plane(self) -> str:
        """Where the revision's Pilot is, unless mesh or pod say otherwise."""
        revision = self.values.revision
        name = f"istiod-{revision}" if revision and revision != "default" else "istiod"
        return f"{name}.{self.values.istio_namespace}.svc:15012"

    @property
    def ca(self) -> str:
        """Where Citadel is.

        Differs from Istio: Citadel is a service of its own, with its own port.
        """
        return self.values.ca_address or f"istio-citadel.{self.values.istio_namespace}.svc:8060"

    @property
    def trust_domain(self) -> str:
        """The mesh's."""
        return str(self.mesh.get("trustDomain") or self.values.trust_domain or "cluster.local")

    @property
    def native(self) -> bool:
        """Whether proxies are native sidecars where neither the pod nor its node says (C2)."""
        if self.values.native != "auto":
            return self.values.native == "true"
        return bool(self.kubelets) and all(can_be_native(each) for each in self.kubelets)

    @property
    def known_templates(self) -> frozenset[str]:
        """Names that a pod may ask for."""
        return frozenset({*BUILT_IN, *self.templates, *self.aliases})


def can_be_native(kubelet: str) -> bool:
    """Whether a kubelet of this version runs native sidecars by default; unknown ones do not."""
    found = _VERSION.match(kubelet)
    return found is not None and (int(found[1]), int(found[2])) >= NATIVE_SINCE


def settings(
    mesh: Mapping[str, Any] | None = None,
    values: Mapping[str, Any] | None = None,
    injector: Mapping[str, Any] | None = None,
    *,
    revision: str = "",
    kubelets: Iterable[str] = (),
    cluster: str = "",
    network: str = "",
) -> Settings:
    """Settings of MeshConfig, Helm's values and the injector's configuration, all as JSON.

    ``mesh`` and ``injector`` win over what values say of them (``meshConfig``,
    ``sidecarInjectorWebhook``). ``cluster`` and
    ``network`` are those of the caller, if it knows (``/inject/cluster/C/net/N``). Raises
    InjectionRefused with everything that is wrong.
    """
    values = values or {}
    own = {**(value_at(values, _WEBHOOK) or {}), **(injector or {})}
    problems: list[str] = []
    read = _read_values(values, problems)
    named = {"revision": revision, "cluster": cluster, "network": network}
    told = Values(**{**vars(read), **{key: text for key, text in named.items() if text}})
    if told.native not in {"auto", "true", "false"}:
        problems.append(
            f"value pilot.env.ENABLE_NATIVE_SIDECARS: {told.native!r}; allowed: auto, true, false"
        )
    policy = str(own.get("policy") or told.enabled)
    if policy not in {"enabled", "disabled"}:
        problems.append(f"policy {shortened(policy)}; allowed: enabled, disabled")
    templates = _objects(own, "templates", problems)
    aliases = {name: _texts(own.get("aliases") or {}, name, problems)
               for name in own.get("aliases") or {}}  # fmt: skip
    defaults = _texts(own, "defaultTemplates", problems) or ("sidecar",)
    problems += [
        f"template {name!r}: it is built in and cannot be replaced; give yours another name"
        for name in sorted(set(BUILT_IN) & set(templates))
    ]
    known = {*BUILT_IN, *templates, *aliases}
    wanted = {*defaults, *(each for names in aliases.values() for each in names)}
    problems += [
        f"template {name!r} is not defined; defined: {', '.join(sorted(known))}"
        for name in sorted(wanted - known)
    ]
    never = _selectors(own, "neverInjectSelector", problems)
    always = _selectors(own, "alwaysInjectSelector", problems)
    checked_mesh = _checked(
        mesh or values.get("meshConfig") or {}, MeshConfig, "MeshConfig", problems
    )
    if problems:
        raise InjectionRefused(problems)
    return Settings(
        values=told,
        mesh=checked_mesh,
        enabled=policy == "enabled",
        default_templates=defaults,
        templates=templates,
        aliases=aliases,
        never=never,
        always=always,
        annotations={str(k): str(v) for k, v in (own.get("injectedAnnotations") or {}).items()},
        kubelets=tuple(kubelets),
    )


def proxy_config(given: Any, source: str) -> Object:
    """A ProxyConfig under the names of JSON; InjectionRefused names the source and each field."""
    problems: list[str] = []
    found = _checked(given, ProxyConfig, source, problems)
    if problems:
        raise InjectionRefused(problems)
    return found


def overlaid(base: Mapping[str, Any], over: Mapping[str, Any]) -> Object:
    """A ProxyConfig over another: its fields replace, but keys of proxyMetadata meet."""
    result = {**base, **over}
    metadata = {**(base.get("proxyMetadata") or {}), **(over.get("proxyMetadata") or {})}
    return {**result, "proxyMetadata": metadata} if metadata else result


def _checked(given: Any, message: Any, source: str, problems: list[str]) -> Object:
    found = decode(from_json(given), message)
    problems += [f"{source}: {_where(each.path)}{each.message}" for each in found.findings]
    result: Object = MessageToDict(found.message)
    return result


def _where(path: Path) -> str:
    return f"{path_text(path)}: " if path else ""


def _read_values(values: Mapping[str, Any], problems: list[str]) -> Values:
    try:
        return Values.of(values)
    except InjectionRefused as error:
        problems += error.problems
        return Values()


def _objects(own: Mapping[str, Any], key: str, problems: list[str]) -> dict[str, Object]:
    given = own.get(key) or {}
    if not isinstance(given, dict):
        problems.append(f"{key}: want an object of templates by name")
        return {}
    found: dict[str, Object] = {}
    for name, each in given.items():
        try:
            found[name] = _template(each)
        except ValueError as error:
            problems.append(f"template {name!r}: {error}")
    return found


def _template(given: Any) -> Object:
    """An overlay of pods, given as an object or as its text."""
    if isinstance(given, str) and "{{" in given:
        raise ValueError("{{ }} is not evaluated; write the parts of the pod as they are to be")
    found = parsed(given) if isinstance(given, str) else given
    if not isinstance(found, dict) or set(found) - {"metadata", "spec"}:
        raise ValueError("want an object with metadata or spec, as pods have them")
    return found


def _selectors(own: Mapping[str, Any], key: str, problems: list[str]) -> tuple[Object, ...]:
    found = own.get(key) or []
    if isinstance(found, list) and all(isinstance(each, dict) for each in found):
        return tuple(found)
    problems.append(f"{key}: want a list of label selectors")
    return ()


def _texts(own: Mapping[str, Any], key: str, problems: list[str]) -> tuple[str, ...]:
    found = own.get(key) or []
    if isinstance(found, list) and all(isinstance(each, str) for each in found):
        return tuple(found)
    problems.append(f"{key}: want a list of names of templates")
    return ()
