"""Delegation between VirtualServices (pilot.md F5)."""

import pytest

from istio.networking.v1alpha3.virtual_service_pb2 import HTTPMatchRequest, VirtualService
from mast.pilot.core.scope.delegates import joined
from tests.support.messages import made, plain, read


def join(root: str, leaf: str | None) -> list[object]:
    """Routes of a root that calls delegate shop/leaf, which may be missing."""
    routes = made(VirtualService, root).http
    delegates = {} if leaf is None else {("shop", "leaf"): made(VirtualService, leaf)}
    return [plain(each) for each in joined(routes, delegates)]


def matches(root: str, leaf: str) -> list[object] | None:
    """Matches of the joined route; None if there is no route."""
    found = join(
        f"http: [{{match: {root}, delegate: {{name: leaf, namespace: shop}}}}]",
        f"http: [{{match: {leaf}}}]",
    )
    if not found:
        return None
    (route,) = found
    assert isinstance(route, dict)
    return list(route.get("match", []))


CALL = "delegate: {name: leaf, namespace: shop}"


@pytest.mark.parametrize(
    ("root", "leaf", "expected"),
    [
        pytest.param("[]", "[]", [], id="neither"),
        pytest.param("[{uri: {exact: /a}}]", "[]", ["{uri: {exact: /a}}"], id="root-only"),
        pytest.param("[]", "[{port: 80}]", ["{port: 80}"], id="delegate-only"),
        pytest.param(
            "[{uri: {prefix: /a}}, {uri: {prefix: /b}}]",
            "[{uri: {prefix: /a/x}}, {uri: {exact: /b/y}}, {port: 80}]",
            [
                "{uri: {prefix: /a/x}}",
                "{uri: {prefix: /a}, port: 80}",
                "{uri: {exact: /b/y}}",
                "{uri: {prefix: /b}, port: 80}",
            ],
            id="each-with-each",
        ),
        pytest.param(
            "[{uri: {exact: /a}}]", "[{uri: {exact: /a}}]", ["{uri: {exact: /a}}"], id="equal-exact"
        ),
        pytest.param(
            "[{uri: {regex: a}}]", "[{uri: {regex: a}}]", ["{uri: {regex: a}}"], id="same-regex"
        ),
        pytest.param(
            "[{uri: {regex: a}}]", "[{uri: {}}]", ["{uri: {regex: a}}"], id="unset-takes-the-root's"
        ),
        pytest.param(
            "[{uri: {}}]", "[{uri: {regex: a}}]", ["{uri: {regex: a}}"], id="unset-in-the-root"
        ),
        pytest.param(
            "[{headers: {a: {exact: '1'}}, queryParams: {q: {}}, withoutHeaders: {w: {}}}]",
            "[{headers: {b: {exact: '2'}}, queryParams: {r: {}}, withoutHeaders: {v: {}}}]",
            [
                "{headers: {a: {exact: '1'}, b: {exact: '2'}}, queryParams: {q: {}, r: {}},"
                " withoutHeaders: {v: {}, w: {}}}"
            ],
            id="maps-united",
        ),
        pytest.param(
            "[{sourceLabels: {a: b}, sourceNamespace: x, name: r, port: 1, gateways: [mesh, g/h]}]",
            "[{sourceLabels: {c: d}, sourceNamespace: x, name: l, port: 1, gateways: [g/h]}]",
            [
                "{sourceLabels: {a: b, c: d}, sourceNamespace: x, name: r-l, port: 1,"
                " gateways: [g/h]}"
            ],
            id="other-fields",
        ),
        pytest.param(
            "[{gateways: [mesh]}]", "[{port: 1}]", ["{gateways: [mesh], port: 1}"], id="gateways"
        ),
        pytest.param(
            "[{port: 1}]",
            "[{gateways: [mesh]}]",
            ["{gateways: [mesh], port: 1}"],
            id="gateways-of-the-delegate",
        ),
        pytest.param(
            "[{statPrefix: r}]", "[{statPrefix: l}]", ["{statPrefix: l}"], id="stat-prefix"
        ),
        pytest.param(
            "[{uri: {prefix: /a}, ignoreUriCase: true}]",
            "[{port: 1}]",
            ["{uri: {prefix: /a}, ignoreUriCase: true, port: 1}"],
            id="case-of-the-root",
        ),
        pytest.param(
            "[{port: 1}]",
            "[{uri: {prefix: /a}, ignoreUriCase: true}]",
            ["{uri: {prefix: /a}, ignoreUriCase: true, port: 1}"],
            id="case-of-the-delegate",
        ),
    ],
)
def test_matches(root: str, leaf: str, expected: list[str]) -> None:
    wanted = [plain(made(HTTPMatchRequest, each)) for each in expected]
    assert matches(root, leaf) == wanted


@pytest.mark.parametrize(
    ("root", "leaf"),
    [
        pytest.param("uri: {prefix: /a}", "uri: {prefix: /b}", id="prefix-outside"),
        pytest.param("uri: {prefix: /a/b}", "uri: {prefix: /a}", id="prefix-wider"),
        pytest.param("uri: {prefix: /a}", "uri: {exact: /b}", id="exact-outside"),
        pytest.param("uri: {exact: /a}", "uri: {exact: /b}", id="two-exact"),
        pytest.param("uri: {exact: /a}", "uri: {prefix: /}", id="prefix-within-exact"),
        pytest.param("uri: {regex: a}", "uri: {regex: b}", id="two-regexes"),
        pytest.param("uri: {regex: a}", "uri: {exact: /a}", id="exact-within-regex"),
        pytest.param("uri: {prefix: /a}", "uri: {regex: /a.}", id="regex-within-prefix"),
        pytest.param("{uri: {prefix: /a}, ignoreUriCase: true}", "uri: {prefix: /a}", id="case"),
        pytest.param("method: {exact: GET}", "method: {exact: PUT}", id="method"),
        pytest.param("scheme: {exact: http}", "scheme: {exact: https}", id="scheme"),
        pytest.param("authority: {exact: a}", "authority: {exact: b}", id="authority"),
        pytest.param("port: 80", "port: 81", id="port"),
        pytest.param("headers: {a: {exact: '1'}}", "headers: {a: {exact: '2'}}", id="header"),
        pytest.param(
            "withoutHeaders: {a: {exact: '1'}}", "withoutHeaders: {a: {}}", id="without-header"
        ),
        pytest.param("queryParams: {a: {exact: x}}", "queryParams: {a: {}}", id="query-parameter"),
        pytest.param("sourceLabels: {a: b}", "sourceLabels: {a: c}", id="source-label"),
        pytest.param("sourceNamespace: a", "sourceNamespace: b", id="source-namespace"),
        pytest.param("gateways: [mesh]", "gateways: [a/b]", id="gateways"),
    ],
)
def test_contradictions_drop_the_pair(root: str, leaf: str) -> None:
    flow = [text if text.startswith("{") else f"{{{text}}}" for text in (root, leaf)]
    assert matches(f"[{flow[0]}]", f"[{flow[1]}]") is None
    rest = matches(f"[{flow[0]}, {{name: other}}]", f"[{flow[1]}]")
    assert rest is not None
    assert len(rest) == 1


def test_fields() -> None:
    """The delegate's fields win, the root fills gaps, header operations are united."""
    root = """
    http:
    - name: root
      delegate: {name: leaf, namespace: shop}
      timeout: 1s
      retries: {attempts: 1}
      fault: {abort: {httpStatus: 500}}
      corsPolicy: {allowMethods: [GET]}
      rewrite: {uri: /root}
      mirror: {host: m.root}
      mirrorPercentage: {value: 5}
      mirrors: [{destination: {host: n.root}}]
      headers:
        request: {set: {a: root, b: root}, add: {c: root}, remove: [x, y]}
        response: {remove: [z]}
    """
    leaf = """
    http:
    - name: one
      timeout: 2s
      route: [{destination: {host: one}}]
      headers: {request: {set: {a: leaf}, remove: [y]}}
    - mirror: {host: m.leaf}
      route: [{destination: {host: two}}]
    """
    first, second = join(root, leaf)
    common = """
    retries: {attempts: 1}
    fault: {abort: {http_status: 500}}
    cors_policy: {allow_methods: [GET]}
    rewrite: {uri: /root}
    """
    assert first == {
        **read(common),
        **read("""
        name: root-one
        timeout: 2s
        route: [{destination: {host: one}}]
        mirror: {host: m.root}
        mirror_percentage: {value: 5.0}
        mirrors: [{destination: {host: n.root}}]
        headers:
          request: {set: {a: leaf, b: root}, add: {c: root}, remove: [y, x]}
          response: {remove: [z]}
        """),
    }
    assert second == {
        **read(common),
        **read("""
        name: root
        timeout: 1s
        route: [{destination: {host: two}}]
        mirror: {host: m.leaf}
        headers:
          request: {set: {a: root, b: root}, add: {c: root}, remove: [x, y]}
          response: {remove: [z]}
        """),
    }


def test_missing_delegate_leaves_out_its_route_only() -> None:
    root = f"http: [{{name: a, {CALL}}}, {{name: b, route: [{{destination: {{host: b}}}}]}}]"
    assert join(root, None) == [read("{name: b, route: [{destination: {host: b}}]}")]


def test_delegates_do_not_delegate() -> None:
    leaf = "http: [{delegate: {name: other}}, {name: b}]"
    assert join(f"http: [{{{CALL}}}]", leaf) == [{"name": "b"}]
