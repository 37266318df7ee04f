"""Hosts with one kind of match or action each, and the site that a real Envoy serves for them."""

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass

import yaml
from envoy.config.core.v3.base_pb2 import DataSource
from envoy.extensions.filters.http.header_to_metadata.v3.header_to_metadata_pb2 import (
    Config as HeaderToMetadata,
)
from envoy.extensions.filters.http.lua.v3.lua_pb2 import Lua
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (  # noqa: E501
    HttpFilter,
)
from google.protobuf.json_format import ParseDict
from google.protobuf.struct_pb2 import Value

from mast.pilot.core.filters.extensions import NoExtensions, Spot
from mast.pilot.core.packing import packed
from tests.support.envoy_server import EnvoyServer
from tests.support.http_probe import EchoServer, Reply, fetch

ROUTE_ONE = "route: [{destination: {host: one.test}}]"
ROUTE_TWO = "- route: [{destination: {host: two.test}}]"
MATCHES = {
    "uri-exact": "uri: {exact: /a}",
    "uri-prefix": "uri: {prefix: /a}",
    "uri-regex": "uri: {regex: '/a[0-9]+'}",
    "uri-ignore-case": "{uri: {prefix: /A}, ignoreUriCase: true}",
    "none": "name: everything",
    "method": "method: {exact: PUT}",
    "scheme": "scheme: {exact: http}",
    "authority": "authority: {prefix: authority.test}",
    "header-exact": "headers: {x-a: {exact: b}}",
    "header-prefix": "headers: {x-a: {prefix: b}}",
    "header-regex": "headers: {x-a: {regex: 'b+'}}",
    "header-present": "headers: {x-a: {}}",
    "header-star": "headers: {x-a: {regex: '*'}}",
    "without-header": "withoutHeaders: {x-a: {exact: b}}",
    "without-any": "withoutHeaders: {x-a: {}}",
    "claim": "headers: {'@request.auth.claims.groups': {exact: admin}}",
    "claim-nested": "headers: {'@request.auth.claims[a.b][c]': {prefix: d}}",
    "claim-absent": "withoutHeaders: {'@request.auth.claims.groups': {exact: admin}}",
    "query-exact": "queryParams: {q: {exact: '1'}}",
    "query-prefix": "queryParams: {q: {prefix: a}}",
    "query-regex": "queryParams: {q: {regex: '[0-9]+'}}",
    "query-present": "queryParams: {q: {}}",
    "all-of": "{uri: {prefix: /a}, method: {exact: GET}, headers: {x-a: {exact: b}}}",
}
"""Match blocks by name; host `NAME.test` sends what matches to `one` and the rest to `two`."""


ACTIONS = """
- name: redirect
  http:
  - match: [{uri: {exact: /all}}]
    redirect: {uri: /r, authority: other.test, scheme: https, port: 8443, redirectCode: 307}
  - match: [{uri: {exact: /elided}}]
    redirect: {authority: other.test, scheme: https, port: 443}
  - match: [{uri: {exact: /derived}}]
    redirect: {authority: other.test, derivePort: FROM_REQUEST_PORT, scheme: https}
  - match: [{uri: {prefix: /prefix}}]
    redirect: {prefixRewrite: /new}
- name: direct
  http:
  - match: [{uri: {exact: /text}}]
    directResponse: {status: 418, body: {string: tea}}
    headers: {response: {set: {x-said: 'yes'}}}
  - match: [{uri: {exact: /bytes}}]
    directResponse: {status: 200, body: {bytes: AAE=}}
  - directResponse: {status: 404}
- name: weights
  http:
  - route:
    - {destination: {host: one.test}, weight: 1}
    - {destination: {host: two.test}, weight: 1, headers: {request: {set: {x-by: weight}}}}
    - {destination: {host: missing.test}, weight: 0}
    headers: {request: {set: {x-by: route}}}
- name: missing
  http:
  - route: [{destination: {host: missing.test}}]
- name: rewrite
  http:
  - match: [{uri: {prefix: /old}}]
    rewrite: {uri: /new, authority: rewritten.test}
    route: [{destination: {host: one.test}}]
  - match: [{uri: {exact: /exact}}]
    rewrite: {uri: '/e\\1xact'}
    route: [{destination: {host: one.test}}]
  - match: [{uri: {regex: '/x/.*'}}]
    rewrite: {uri: /all}
    route: [{destination: {host: one.test}}]
  - match: [{uri: {prefix: /u}}]
    rewrite: {uriRegexRewrite: {match: '^/u/(\\w+)/(\\w+)', rewrite: '/\\2/\\1'}}
    route: [{destination: {host: one.test}}]
  - route: [{destination: {host: one.test}}]
- name: timeout
  http:
  - match: [{uri: {prefix: /hang/short}}]
    timeout: 0.3s
    route: [{destination: {host: one.test}}]
  - route: [{destination: {host: one.test}}]
- name: retries
  http:
  - match: [{uri: {prefix: /off}}]
    retries: {attempts: 0}
    route: [{destination: {host: half-dead.test}}]
  - match: [{uri: {prefix: /codes}}]
    retries: {attempts: 2, retryOn: '503, reset', backoff: 0.005s}
    route: [{destination: {host: one.test}}]
  - match: [{uri: {prefix: /hang/try}}]
    retries: {attempts: 1, perTryTimeout: 0.2s, retryOn: 'reset', backoff: 0.005s}
    timeout: 5s
    route: [{destination: {host: one.test}}]
  - match: [{uri: {prefix: /once}}]
    route: [{destination: {host: one.test}}]
  - route: [{destination: {host: half-dead.test}}]
- name: fault
  http:
  - match: [{uri: {prefix: /abort}}]
    fault: {abort: {httpStatus: 555, percentage: {value: 100}}}
    route: [{destination: {host: one.test}}]
  - match: [{uri: {prefix: /grpc}}]
    fault: {abort: {grpcStatus: NOT_FOUND, percentage: {value: 100}}}
    route: [{destination: {host: one.test}}]
  - match: [{uri: {prefix: /delay}}]
    fault: {delay: {fixedDelay: 0.4s, percentage: {value: 100}}}
    route: [{destination: {host: one.test}}]
  - match: [{uri: {prefix: /never}}]
    fault: {abort: {httpStatus: 555, percentage: {value: 0}}, delay: {fixedDelay: 9s}}
    route: [{destination: {host: one.test}}]
  - route: [{destination: {host: one.test}}]
- name: mirror
  http:
  - match: [{uri: {prefix: /old}}]
    mirror: {host: copies.test}
    route: [{destination: {host: one.test}}]
  - match: [{uri: {prefix: /many}}]
    mirrors:
    - {destination: {host: copies.test}}
    - {destination: {host: copies.test}, percentage: {value: 100}}
    route: [{destination: {host: one.test}}]
  - mirror: {host: copies.test}
    mirrorPercentage: {value: 0}
    route: [{destination: {host: one.test}}]
- name: cors
  http:
  - match: [{uri: {prefix: /forward}}]
    corsPolicy: {allowOrigins: [{exact: 'https://good.test'}]}
    route: [{destination: {host: one.test}}]
  - match: [{uri: {prefix: /any}}]
    corsPolicy: {allowOrigin: ['*'], unmatchedPreflights: IGNORE}
    route: [{destination: {host: one.test}}]
  - corsPolicy:
      allowOrigins: [{prefix: 'https://good'}]
      allowMethods: [GET, PUT]
      allowHeaders: [x-a, x-b]
      exposeHeaders: [x-c]
      maxAge: 3600s
      allowCredentials: true
      unmatchedPreflights: IGNORE
    route: [{destination: {host: one.test}}]
- name: headers
  http:
  - match: [{uri: {prefix: /ops}}]
    headers:
      request:
        set: {x-set: '50%', x-path: '%REQ(:path)%', ':authority': host.test, ':method': PUT}
        add: {x-add: more}
        remove: [x-gone]
      response: {set: {x-reply: 'yes'}, remove: [x-upstream]}
    route:
    - destination: {host: one.test}
      headers: {request: {set: {x-set: destination}}}
  - route: [{destination: {host: one.test}}]
- name: hash
  http:
  - route: [{destination: {host: ring.test}}]
- name: unpaired
  http:
  - match: [{uri: {prefix: /a}}]
    route: [{destination: {host: one.test}}]
"""


SERVICES = """
{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {name: upstreams},
 spec: {hosts: [one.test, two.test, half-dead.test, copies.test, ring.test], resolution: STATIC,
        ports: [{number: 80, name: http, protocol: HTTP}]}}
---
{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {name: ring, namespace: shop},
 spec: {host: ring.test, trafficPolicy: {loadBalancer: {consistentHash: {httpHeaderName: x-user}}}}}
"""


class Claims(NoExtensions):
    """Takes the claims of a token from header `x-claims`: base64 of a google.protobuf.Value."""

    def http_filters(self, spot: Spot) -> Sequence[HttpFilter]:
        config = HeaderToMetadata()
        rule = config.request_rules.add(header="x-claims")
        rule.on_header_present.metadata_namespace = "envoy.filters.http.jwt_authn"
        rule.on_header_present.key = "payload"
        rule.on_header_present.type = HeaderToMetadata.PROTOBUF_VALUE
        rule.on_header_present.encode = HeaderToMetadata.BASE64
        again = "function envoy_on_request(handle) handle:clearRouteCache() end"
        return [
            HttpFilter(name="claims", typed_config=packed(config)),
            HttpFilter(
                name="route-again",
                typed_config=packed(Lua(default_source_code=DataSource(inline_string=again))),
            ),
        ]


def claims(**values: object) -> dict[str, str]:
    value = ParseDict(values, Value())
    return {"x-claims": base64.b64encode(value.SerializeToString()).decode()}


@dataclass
class Site:
    """An Envoy with all routes, and the servers behind it."""

    envoy: EnvoyServer
    one: EchoServer
    copies: EchoServer

    async def get(self, name: str, path: str = "/", **how: object) -> Reply:
        """Ask host `NAME.test`."""
        return await fetch(self.envoy.ports["routes"], f"{name}.test", path, **how)


def virtual_services() -> str:
    documents = []
    for name, match in MATCHES.items():
        block = yaml.safe_load(match)
        rules = [{"match": [block], **yaml.safe_load(ROUTE_ONE)}, *yaml.safe_load(ROUTE_TWO)]
        documents.append((name, rules))
    documents += [(each["name"], each["http"]) for each in yaml.safe_load(ACTIONS)]
    return "\n---\n".join(
        json.dumps(
            {
                "apiVersion": "networking.istio.io/v1",
                "kind": "VirtualService",
                "metadata": {"name": name, "namespace": "shop"},
                "spec": {"hosts": [f"{name}.test"], "http": rules},
            }
        )
        for name, rules in documents
    )
