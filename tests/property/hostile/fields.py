"""Which values stand in which field, and which fields a message says little without."""

from collections.abc import Mapping, Sequence
from typing import Any

from google.protobuf.descriptor import FieldDescriptor

from tests.property.hostile import (
    access_fields,
    addresses,
    kubernetes_fields,
    legacy_fields,
    numbers,
    texts,
)
from tests.property.hostile.pools import Pool

_JWKS = (
    '{"keys":[{"kty":"RSA","n":"u1SU1LfVLPHCozMxH2Mo4lgOEePzNm0tRgeLezV6ffAt0gunVTLw7onLRnrq0_IzW7yWR7'
    "QkrmBL7jTKEn5u-qKhbwKfBstIs-bMY2Zkp18gnTxKLxoS2tFczGkPLPgizskuemMghRniWaoLcyehkd3qqGElvW_VDL5AaWTg0"
    "nLVkjRo9z-40RQzuVaE8AkAFmxZzow3x-VJYKdjykkJ0iT9wCS0DRTXu269V264Vf_3jvredZiKRkgwlL9xNAwxXFg0x_XFw005"
    'UWVRIkdgcKWTjpBP2dPwVZ4WWC-9aGVd-Gyn1o0CLelf4rEjGoXbAAEgAqeGUxrcIlbjXfbcmw","e":"AQAB","kid":"a"}]}'
)

_ED25519 = '{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}'
_P256 = (
    '{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",'
    '"y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}'
)
_KEY_SETS = Pool(
    (_JWKS, f'{{"keys":[{_ED25519},{_P256}]}}', '{"keys":[{"kty":"oct","k":"c2VjcmV0"}]}'),
    (
        "",
        "{}",
        "a",
        '{"keys":[]}',
        '{"keys":[1]}',
        '{"keys":[{}]}',
        '{"keys":[{"kty":"RSA"}]}',
        '{"keys":[{"kty":"RSA","n":"AQAB","e":"Aw"}]}',
        '{"keys":[{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}]}',
        '{"keys":[{"kty":"OKP","crv":"X25519","x":"AA"}]}',
        '{"keys":[{"kty":"oct","k":""}]}',
        _P256.replace("P-256", "P-384").join(['{"keys":[', "]}"]),
        _JWKS.replace('"e":"AQAB"', '"e":"AQ"'),
        _JWKS.replace('"kid":"a"', '"kid":"\\ud800"'),
        _JWKS.replace('"kid":"a"', '"alg":"HS256"'),
        f'{{"keys":[{_ED25519},{{"kty":"RSA","n":"!"}}]}}',
    ),
)

BY_NAME: Mapping[str, Pool] = {
    # Whom objects are about.
    "host": addresses.HOSTS,
    "hosts": addresses.HOSTS,
    "target_host": addresses.HOSTS,
    "authority": addresses.AUTHORITIES,
    "gateways": addresses.GATEWAYS,
    "subset": addresses.SUBSETS,
    "export_to": addresses.EXPORTS,
    "default_service_export_to": addresses.EXPORTS,
    "default_virtual_service_export_to": addresses.EXPORTS,
    "default_destination_rule_export_to": addresses.EXPORTS,
    "namespace": addresses.NAMESPACES,
    "source_namespace": texts.SOURCES,
    "root_namespace": Pool(("istio-system", "shop")),
    "service_account": addresses.ACCOUNTS,
    "network": addresses.NETWORKS,
    "trust_domain": addresses.TRUST_DOMAINS,
    "trust_domain_aliases": addresses.TRUST_ALIASES,
    # Where they are.
    "number": addresses.PORTS,
    "port": addresses.PORTS,
    "ports": addresses.PORTS,
    "target_port": addresses.PORTS,
    "port_number": addresses.PORTS,
    "proxy_http_port": Pool((0, 15080), (80, 15001, 65536, -1)),
    "protocol": addresses.PROTOCOLS,
    "address": addresses.ADDRESSES,
    "addresses": addresses.VIPS,
    "destination_subnets": addresses.CIDRS,
    "source_subnet": addresses.CIDRS,
    "from_cidr": addresses.CIDRS,
    "from_registry": Pool(("east", "Kubernetes"), ("", "é")),
    "ip_blocks": addresses.CIDRS,
    "bind": addresses.BINDS,
    "default_endpoint": addresses.ENDPOINTS,
    "locality": addresses.LOCALITIES,
    "from": addresses.LOCALITIES,
    "to": addresses.LOCALITIES,
    "failover_priority": addresses.FAILOVER_LABELS,
    "mixer_check_server": addresses.MIXERS,
    "mixer_report_server": addresses.MIXERS,
    # What they look for in requests.
    "uri": texts.PATHS + Pool((), (addresses.API,)),
    "regex": texts.REGEXES,
    "rewrite": texts.REWRITES,
    "prefix_rewrite": texts.PATHS,
    "path": texts.PATHS,
    "paths": texts.PATHS,
    "not_paths": texts.PATHS,
    "uri_template": texts.PATHS,
    "method": texts.METHODS,
    "methods": texts.METHODS,
    "http_method": texts.METHODS,
    "allow_methods": texts.METHODS,
    "allow_headers": texts.HEADERS,
    "expose_headers": texts.HEADERS,
    "remove": texts.HEADERS,
    "remove_request_headers": texts.HEADERS,
    "remove_response_headers": texts.HEADERS,
    "header": texts.HEADERS,
    "http_header_name": texts.HEADERS,
    "http_query_parameter_name": texts.PARAMETERS,
    "allow_origin": Pool(("*", "http://a"), ("é", "\n")),
    "scheme": Pool(("http", "https"), ("", "HTTP", "ftp", "é")),
    "sni_hosts": addresses.SNI,
    "sni": addresses.SNI,
    # How they are told from each other.
    "stat_prefix": texts.STAT_PREFIXES,
    "outbound_cluster_stat_name": texts.STATISTICS,
    "inbound_cluster_stat_name": texts.STATISTICS,
    "access_log_file": texts.LOGS,
    "access_log_format": texts.FORMATS,
    # Answers, failures, quantities.
    "redirect_code": numbers.REDIRECTS,
    "status": numbers.STATUSES,
    "http_status": numbers.STATUSES,
    "outlier_detection_http_error_codes": numbers.STATUSES,
    "retry_on": texts.RETRY_ON,
    "grpc_status": Pool(("UNAVAILABLE", "OK"), ("unavailable", "14", "NOPE", "")),
    "weight": numbers.WEIGHTS,
    "sampling": numbers.FRACTIONS,
    "table_size": numbers.TABLES,
    "minimum_ring_size": numbers.RINGS,
    # Programs.
    "expression": texts.EXPRESSIONS,
    "inline_code": texts.PROGRAMS,
    # Keys and certificates.
    "subject_alt_names": addresses.IDENTITIES,
    "principals": addresses.IDENTITIES,
    "credential_name": texts.CREDENTIALS,
    "cipher_suites": Pool(("ECDHE-ECDSA-AES256-GCM-SHA384", "AES128-SHA"), ("NOPE", "é", "")),
    "ecdh_curves": Pool(("P-256", "X25519"), ("NOPE",)),
    "verify_certificate_hash": Pool(("ab" * 32,), ("", "é", "a")),
    "verify_certificate_spki": Pool(("A" * 43 + "=",), ("", "é", "a")),
    "jwks": _KEY_SETS,
    "issuer": Pool(("a", "https://a.example.com"), ("", "é", "\x00")),
    "jwks_uri": Pool(
        ("https://a.example.com/keys",),
        (
            "",
            "é",
            "http://",
            "/a",
            "https://a b/",
            "https://[::1",
            "https://a:99999/",
            "https://@/",
        ),
    ),
    "from_cookies": texts.COOKIES,
    **dict.fromkeys(
        ("client_certificate", "private_key", "ca_certificates", "server_certificate", "ca_crl"),
        texts.FILES,
    ),
}
BY_PLACE: Mapping[str, Pool] = {
    **kubernetes_fields.BY_PLACE,
    **access_fields.BY_PLACE,
    **legacy_fields.BY_PLACE,
    "RegexRewrite.match": texts.REGEXES,
    "Subset.name": addresses.SUBSETS,
    "Port.name": addresses.PORT_NAMES,
    "ServicePort.name": addresses.PORT_NAMES,
    "SidecarPort.name": addresses.PORT_NAMES,
    "IstioEgressListener.hosts": addresses.EGRESS,
    "Server.hosts": addresses.HOSTS + Pool(("*",), ("shop/*", "./one", "*/*", "~/*")),
    "Delegate.name": addresses.NAMES,
    "HTTPRoute.name": texts.TEXTS + texts.STAT_PREFIXES,
    # Envoy writes there.
    "EnvoyFileAccessLogProvider.path": texts.LOGS,
    "HTTPBody.string": texts.BODIES,
    "HTTPBody.bytes": Pool(("aGk=", ""), ("/////w==", "AAAA")),
    "HTTPCookie.name": texts.COOKIES,
    "HTTPCookie.path": Pool(("/", "/a"), ("", "é", "a;b")),
    "Attribute.name": texts.ATTRIBUTES,
    "Attribute.value": texts.ATTRIBUTE_VALUES,
    "TagOverride.value": texts.EXPRESSIONS,
    "Formatter.value": texts.FORMATS,
    "IstioService.name": addresses.NAMES,
    "IstioService.service": addresses.HOSTS,
    "HTTPAPISpecReference.name": addresses.NAMES,
    "QuotaSpecReference.name": addresses.NAMES,
    "Quota.quota": Pool(("requests",), ("", "é", "%")),
    "IstioNetworkGateway.registry_service_name": addresses.HOSTS,
    "JWTHeader.name": texts.HEADERS,
    "JWTHeader.prefix": Pool(("Bearer ", "token="), ("\r\n", "\x00", "é", "x" * 20_000)),
    "JWTRule.from_params": texts.PARAMETERS,
    "JWTRule.output_payload_to_header": texts.HEADERS,
    "JWTRule.space_delimited_claims": texts.TEXTS,
    "ClaimToHeader.header": texts.HEADERS,
    "ClaimToHeader.claim": Pool(("sub", "a.b"), ("", "é", "\x00", "..", "x" * 20_000)),
}
"""Pools of fields by the last two parts of their names; else by their name, else by their type."""

KEYS: Mapping[str, Pool] = {
    **legacy_fields.KEYS,
    **dict.fromkeys(("headers", "without_headers", "set", "add"), texts.HEADERS),
    **dict.fromkeys(
        ("append_headers", "append_request_headers", "append_response_headers"), texts.HEADERS
    ),
    "query_params": texts.PARAMETERS,
    "ports": Pool(("http", "tcp", "grpc", "any", "tls"), ("nope",)),
    "port_level_mtls": Pool(("80", "8080"), ("0", "443", "65536", "15006", "9090")),
    "to": addresses.LOCALITIES,
    "clause": Pool(("request.path", "source.ip"), ("", "é", "nope", "request.headers")),
    "networks": Pool(("net-1",), ("", "é")),
    "attributes": Pool(("api.operation", "a"), ("", "é", "request.path")),
}
"""Of maps, by their names."""

SCALARS: Mapping[int, Pool] = {
    FieldDescriptor.CPPTYPE_STRING: texts.TEXTS,
    FieldDescriptor.CPPTYPE_BOOL: Pool((True, False)),
    FieldDescriptor.CPPTYPE_INT32: numbers.COUNTS,
    FieldDescriptor.CPPTYPE_INT64: numbers.COUNTS,
    FieldDescriptor.CPPTYPE_UINT32: numbers.BIG_COUNTS,
    FieldDescriptor.CPPTYPE_UINT64: numbers.HUGE_COUNTS,
    FieldDescriptor.CPPTYPE_DOUBLE: numbers.FRACTIONS,
    FieldDescriptor.CPPTYPE_FLOAT: numbers.FRACTIONS,
}

MUST: Mapping[str, Sequence[str]] = {
    **kubernetes_fields.MUST,
    **access_fields.MUST,
    **legacy_fields.MUST,
    "VirtualService": ("hosts http", "hosts tcp", "hosts tls", "http", "hosts http tcp tls",
                       "hosts gateways http"),
    "HTTPRoute": ("route", "route match", "match route rewrite", "redirect", "direct_response",
                  "match redirect", "delegate", "route retries", "route headers", "route fault",
                  "route cors_policy", "match direct_response", "route timeout", "route mirrors"),
    "HTTPRouteDestination": ("destination", "destination weight", "destination headers"),
    "RouteDestination": ("destination", "destination weight"),
    "Destination": ("host", "host subset", "host port", "host subset port"),
    "HTTPMatchRequest": ("uri", "uri headers", "headers", ""),
    "TCPRoute": ("route", "route match"),
    "TLSRoute": ("route match",),
    "TLSMatchAttributes": ("sni_hosts", "sni_hosts destination_subnets", "sni_hosts port"),
    "HTTPDirectResponse": ("status", "status body"),
    "HTTPRetry": ("attempts", "attempts retry_on"),
    "Delay": ("fixed_delay percentage", "fixed_delay percent"),
    "Abort": ("http_status percentage", "grpc_status percentage"),
    "HTTPMirrorPolicy": ("destination", "destination percentage"),
    "DestinationRule": ("host traffic_policy", "host subsets", "host traffic_policy subsets"),
    "Subset": ("name", "name labels", "name traffic_policy"),
    "PortTrafficPolicy": ("port tls", "port connection_pool", "port load_balancer",
                          "port outlier_detection"),
    "HTTPCookie": ("name", "name ttl", "name path"),
    "ConnectionKeepalive": ("interval timeout",),
    "WarmupConfiguration": ("duration",),
    "TunnelSettings": ("target_host target_port", "protocol target_host target_port"),
    "ServiceEntry": ("hosts ports resolution", "hosts ports resolution endpoints",
                     "hosts ports resolution addresses", "hosts ports resolution workload_selector",
                     "hosts ports resolution addresses endpoints"),
    "ServicePort": ("number name protocol", "number name protocol target_port"),
    "SidecarPort": ("number name protocol", "number protocol"),
    "Port": ("number name protocol",),
    "Gateway": ("selector servers",),
    "Server": ("port hosts", "port hosts tls", "port hosts bind"),
    "WorkloadEntry": ("address", "address labels", "address ports labels"),
    "WorkloadGroup": ("template", "template metadata", "template probe"),
    "IstioEgressListener": ("hosts", "hosts port", "hosts port bind"),
    "IstioIngressListener": ("port", "port default_endpoint", "port tls", "port connection_pool",
                             "port bind capture_mode"),
    "ServerTLSSettings": ("mode server_certificate private_key ca_certificates",
                          "mode credential_name", "mode", "https_redirect"),
    "Sidecar": ("egress", "ingress", "egress ingress", "egress workload_selector"),
    "PeerAuthentication": ("mtls", "selector port_level_mtls", "mtls selector"),
    "ClientTLSSettings": ("mode", "mode client_certificate private_key", "mode credential_name"),
    "QuotaSpec": ("rules",),
    "QuotaRule": ("quotas", "match quotas"),
    "Quota": ("quota", "quota charge"),
    "QuotaSpecBinding": ("services quota_specs",),
    "QuotaSpecReference": ("name", "name namespace"),
    "HTTPAPISpec": ("patterns", "attributes patterns api_keys"),
    "HTTPAPISpecPattern": ("http_method uri_template", "http_method regex", "attributes regex"),
    "HTTPAPISpecBinding": ("services api_specs",),
    "HTTPAPISpecReference": ("name", "name namespace"),
    "IstioService": ("name", "name namespace", "service"),
    "PeerAuthenticationMethod": ("mtls",),
    "JWTRule": (
        "issuer jwks",
        "issuer jwks_uri",
        "issuer jwks from_headers output_claim_to_headers",
        "issuer jwks from_params from_cookies output_payload_to_header space_delimited_claims",
    ),
    "JWTHeader": ("name", "name prefix"),
    "ClaimToHeader": ("header claim",),
    "RequestAuthentication": ("jwt_rules", "selector jwt_rules"),
    "WasmPlugin": ("url phase", "url plugin_config"),
    "WasmConfig": ("url",),
    "TrafficExtension": ("lua", "wasm"),
    "LuaConfig": ("inline_code",),
    "Telemetry": ("tracing", "metrics", "access_logging"),
    "MeshNetworks": ("networks",),
    "Network": ("endpoints gateways",),
    "IstioNetworkGateway": ("address port", "registry_service_name port"),
    "MeshConfig": ("access_log_file access_log_format", "mixer_check_server mixer_report_server",
                   "outbound_traffic_policy", "default_config", "locality_lb_setting",
                   "default_http_retry_policy", "default_traffic_policy", "tcp_keepalive",
                   "connect_timeout", "mesh_mTLS", "protocol_detection_timeout",
                   "outbound_cluster_stat_name inbound_cluster_stat_name", "path_normalization",
                   "extension_providers default_providers", "h2_upgrade_policy",
                   "proxy_http_port", "trust_domain trust_domain_aliases"),
    "ProxyConfig": ("tracing", "gateway_topology", "proxy_headers"),
    "Tracing": ("sampling", "zipkin", "custom_tags"),
    "StringMatch": ("exact", "prefix", "regex"),
}  # fmt: skip
"""Fields without which a message says little, in one of several combinations."""

BROAD: Mapping[str, int] = {"MeshConfig": 8, "TrafficPolicy": 4, "HTTPRoute": 4}
"""How many more fields some messages have at most; the others have up to three."""


def pool_of(field: FieldDescriptor) -> Pool:
    """What a scalar field is filled from."""
    owner = field.containing_type.name if field.containing_type else ""
    found = BY_PLACE.get(f"{owner}.{field.name}") or BY_NAME.get(field.name)
    if found is None or not _fits(field, found):
        return SCALARS[field.cpp_type]
    return found


def _fits(field: FieldDescriptor, pool: Pool) -> bool:
    """Some names stand for numbers in one message and for texts in another."""
    value: Any = pool.ordinary[0]
    return isinstance(value, str) == (field.cpp_type == FieldDescriptor.CPPTYPE_STRING)
