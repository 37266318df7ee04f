"""The same as `fields` for the kinds of Kubernetes: Gateway API and Ingress."""

from collections.abc import Mapping, Sequence

from tests.property.hostile import addresses, numbers, texts
from tests.property.hostile.pools import Pool

_LISTENERS = Pool(("http", "tls"), ("nope", "É"))
_SERVICES = Pool(("one", "two"), ("nope", "é", "one.shop"))
_GROUPS = Pool(("",), ("gateway.networking.k8s.io", "networking.istio.io", "é"))
_GATEWAYS = Pool(("gate", "one"), ("nope",))
_SECRETS = Pool(("creds",), ("other", "é"))
_SPANS = Pool(("1s", "5s", "100ms"), ("0s", "1h", "1m30s", "-1s", "1", "é", "99999h", "1.5s"))
_EXPRESSIONS = Pool(("a.*", "/a", "a"), (*texts.REGEXES.odd, *texts.PATHS.odd))
_PATHS = Pool(("PathPrefix", "Exact"), ("RegularExpression", "é"))
_MATCHES = Pool(("Exact", "RegularExpression"), ("é",))

BY_PLACE: Mapping[str, Pool] = {
    "GatewaySpec.gateway_class_name": Pool(("istio",), ("istio-remote", "nope")),
    "GatewayClassSpec.controller_name": Pool(("istio.io/gateway-controller",), ("a.example/b",)),
    "Listener.name": _LISTENERS,
    "Listener.hostname": addresses.HOSTS,
    "Listener.protocol": Pool(("HTTP", "HTTPS", "TLS"), ("TCP", "UDP", "é")),
    "ListenerTLSConfig.mode": Pool(("Terminate", "Passthrough"), ("é",)),
    "CertificateReference.name": _SECRETS,
    "CertificateReference.kind": Pool(("Secret",), ("", "é")),
    "CertificateReference.group": Pool(("",), ("é",)),
    "ObjectReference.name": _SECRETS,
    "ObjectReference.kind": Pool(("ConfigMap", "Secret"), ("",)),
    "ObjectReference.group": Pool(("",), ("é",)),
    "RouteNamespaces.from": Pool(("All", "Same"), ("Selector", "é")),
    "ListenerNamespaces.from": Pool(("All", "Same"), ("None", "é")),
    "RouteGroupKind.group": Pool(("gateway.networking.k8s.io",), ("",)),
    "RouteGroupKind.kind": Pool(("HTTPRoute", "TLSRoute"), ("é",)),
    "GatewayAddress.type": Pool(("IPAddress", "Hostname"), ("é",)),
    "GatewayAddress.value": addresses.ADDRESSES,
    "FrontendTLSValidation.mode": Pool(("AllowValidOnly", "AllowInsecureFallback"), ("é",)),
    "ParentReference.group": Pool(("gateway.networking.k8s.io",), ("", "networking.istio.io")),
    "ParentReference.kind": Pool(("Gateway",), ("Service", "ServiceEntry", "é")),
    "ParentReference.name": _GATEWAYS + _SERVICES,
    "ParentReference.section_name": _LISTENERS,
    "HTTPRouteSpec.hostnames": addresses.HOSTS,
    "GRPCRouteSpec.hostnames": addresses.HOSTS,
    "TLSRouteSpec.hostnames": addresses.SNI,
    "HTTPPathMatch.type": _PATHS,
    "HTTPPathMatch.value": texts.PATHS + texts.REGEXES,
    "HTTPHeaderMatch.type": _MATCHES,
    "HTTPHeaderMatch.name": texts.HEADERS,
    "HTTPHeaderMatch.value": _EXPRESSIONS,
    "HTTPQueryParamMatch.type": _MATCHES,
    "HTTPQueryParamMatch.name": texts.PARAMETERS,
    "HTTPQueryParamMatch.value": _EXPRESSIONS,
    "HTTPRouteFilter.type": Pool(
        (
            "RequestHeaderModifier",
            "ResponseHeaderModifier",
            "RequestRedirect",
            "URLRewrite",
            "RequestMirror",
            "CORS",
        ),
        ("ExtensionRef", "ExternalAuth", "é"),
    ),
    "GRPCRouteFilter.type": Pool(
        ("RequestHeaderModifier", "ResponseHeaderModifier", "RequestMirror"), ("ExtensionRef",)
    ),
    "HTTPHeader.name": texts.HEADERS,
    "HTTPHeader.value": texts.HEADER_VALUES,
    "HTTPRequestRedirectFilter.hostname": addresses.HOSTS,
    "HTTPRequestRedirectFilter.status_code": numbers.REDIRECTS,
    "HTTPURLRewriteFilter.hostname": addresses.HOSTS,
    "HTTPPathModifier.type": Pool(("ReplacePrefixMatch", "ReplaceFullPath"), ("é",)),
    "HTTPPathModifier.replace_full_path": texts.PATHS,
    "HTTPPathModifier.replace_prefix_match": texts.PATHS,
    "HTTPCORSFilter.allow_origins": Pool(("https://a.example.com", "*"), ("é", "https://*.a", "")),
    "HTTPRouteTimeouts.request": _SPANS,
    "HTTPRouteTimeouts.backend_request": _SPANS,
    "HTTPRouteRetry.codes": numbers.STATUSES,
    "HTTPRouteRetry.backoff": _SPANS,
    "SessionPersistence.type": Pool(("Cookie", "Header"), ("é",)),
    "SessionPersistence.session_name": texts.COOKIES + texts.HEADERS,
    "SessionPersistence.absolute_timeout": _SPANS,
    "SessionPersistence.idle_timeout": _SPANS,
    "CookieConfig.lifetime_type": Pool(("Session", "Permanent"), ("é",)),
    "GRPCMethodMatch.type": _MATCHES,
    "GRPCMethodMatch.service": Pool(("a.B", "C"), ("", "(", "a/b", "é")),
    "GRPCMethodMatch.method": Pool(("D",), ("", "(", "a/b", "é")),
    "IngressSpec.ingress_class_name": Pool(("istio",), ("nope", "")),
    "IngressServiceBackend.name": _SERVICES,
    "ServiceBackendPort.name": Pool(("http-80",), ("nope", "")),
    "IngressTLS.secret_name": _SECRETS,
    "IngressRule.host": addresses.HOSTS,
    "HTTPIngressPath.path": texts.PATHS,
    "HTTPIngressPath.path_type": Pool(("Prefix", "Exact", "ImplementationSpecific"), ("é",)),
    **{f"{owner}.name": _SERVICES for owner in
       ("BackendRef", "HTTPBackendRef", "GRPCBackendRef", "BackendObjectReference")},
    **{f"{owner}.kind": Pool(("Service",), ("Hostname", "ServiceEntry", "é")) for owner in
       ("BackendRef", "HTTPBackendRef", "GRPCBackendRef", "BackendObjectReference")},
    **{f"{owner}.group": _GROUPS for owner in
       ("BackendRef", "HTTPBackendRef", "GRPCBackendRef", "BackendObjectReference")},
}  # fmt: skip
"""Pools of fields by the last two parts of their names."""

MUST: Mapping[str, Sequence[str]] = {
    "GatewayClassSpec": ("controller_name",),
    "GatewaySpec": ("gateway_class_name listeners", "gateway_class_name listeners addresses"),
    "Listener": ("name port protocol", "name port protocol hostname", "name port protocol tls"),
    "ListenerTLSConfig": ("mode certificate_refs", "certificate_refs", "mode"),
    "CertificateReference": ("name", "kind name"),
    "ObjectReference": ("kind name",),
    "ParentReference": ("name", "name section_name", "kind name", "name port"),
    "HTTPRouteSpec": ("parent_refs rules", "parent_refs hostnames rules"),
    "HTTPRouteRule": ("backend_refs", "matches backend_refs", "matches filters backend_refs",
                      "matches filters", "matches backend_refs timeouts"),
    "HTTPRouteMatch": ("path", "path headers", "method"),
    "HTTPPathMatch": ("type value", "value"),
    "HTTPHeaderMatch": ("name value", "type name value"),
    "HTTPQueryParamMatch": ("name value", "type name value"),
    "HTTPHeader": ("name value",),
    "HTTPRouteFilter": ("type request_header_modifier", "type response_header_modifier",
                        "type request_redirect", "type url_rewrite", "type request_mirror",
                        "type cors"),
    "HTTPHeaderFilter": ("set", "add", "remove"),
    "HTTPRequestMirrorFilter": ("backend_ref", "backend_ref percent"),
    "HTTPRequestRedirectFilter": ("hostname", "path", "scheme", "status_code"),
    "HTTPURLRewriteFilter": ("hostname", "path"),
    "HTTPPathModifier": ("type replace_prefix_match", "type replace_full_path"),
    "GRPCRouteSpec": ("parent_refs rules", "parent_refs hostnames rules"),
    "GRPCRouteRule": ("backend_refs", "matches backend_refs"),
    "GRPCRouteMatch": ("method", "headers"),
    "GRPCMethodMatch": ("service", "service method", "type service method"),
    "GRPCRouteFilter": ("type request_header_modifier", "type response_header_modifier"),
    "TLSRouteSpec": ("parent_refs hostnames rules",),
    "TLSRouteRule": ("backend_refs",),
    "TCPRouteSpec": ("parent_refs rules",),
    "TCPRouteRule": ("backend_refs",),
    **dict.fromkeys(
        ("BackendRef", "HTTPBackendRef", "GRPCBackendRef", "BackendObjectReference"),
        ("name port", "name namespace port"),
    ),
    "IngressSpec": ("rules", "tls rules", "ingress_class_name rules", "default_backend"),
    "IngressRule": ("http", "host http"),
    "HTTPIngressRuleValue": ("paths",),
    "HTTPIngressPath": ("path path_type backend",),
    "IngressBackend": ("service",),
    "IngressServiceBackend": ("name port",),
    "ServiceBackendPort": ("number", "name"),
    "IngressTLS": ("secret_name", "hosts secret_name"),
}  # fmt: skip
"""Fields without which a message says little, in one of several combinations."""
