"""Hosts, addresses, ports, names of things: what the objects of a mesh meet each other by."""

from tests.property.hostile.pools import Pool

LONGEST_HOST = ".".join(["l" * 63] * 3 + ["m" * 61])
ONE, TWO, API = "one.shop.svc.cluster.local", "two.web.svc.cluster.local", "api.example.com"
MIXER = "istio-policy.istio-system.svc.cluster.local"
ANY_ADDRESS = ".".join("0000")

HOSTS = Pool(
    (ONE, TWO, API, "one", "*.example.com", "*.web.svc.cluster.local"),
    (
        "One.Shop.svc.cluster.local",
        f"{TWO}.",
        "*.com",
        "xn--bcher-kva.example",
        "bücher.example",
        "10.7.0.1",
        "2001:db8::7",
        "a_b.example.com",
        LONGEST_HOST,
        f"*.{LONGEST_HOST[2:]}",
        MIXER,
        f"{API}:80",
        "*",
        "*.*.com",
        "",
        "a b",
        "127.0.0.1",
        "API.example.com",
        "a.b.api.example.com",
        "shop/one",
        "allow_any",
        "block_all",
    ),
)
AUTHORITIES = HOSTS + Pool((), ("a:80", "a\r\nb", "%REQ(x)%", "[::1]:80", "a/b", "x" * 9_000, "é"))
SNI = Pool(
    (API, "*.example.com", "a.b.example.com", ONE),
    (
        "*",
        "API.example.com",
        "10.7.0.1",
        "bücher.example",
        "*.com",
        "*.b.example.com",
        f"{API}.",
        "",
        "é",
        "\x00",
        "x" * 300,
        "a b",
    ),
)
ADDRESSES = Pool(
    ("10.1.0.7", "10.1.0.8", "10.1.0.9", "192.0.2.7", API),
    (
        "2001:db8::1",
        "::ffff:10.1.0.7",
        "fe80::1%eth0",
        ANY_ADDRESS,
        "::",
        "127.0.0.1",
        "unix:///tmp/s",
        "unix://@s",
        "unix:///" + "x" * 200,
        "unix:///a\x00",
        "10.1.0.0/16",
        "255.255.255.255",
        "224.0.0.1",
        "*.example.com",
        "a b",
        "010.1.0.7",
        "1.2.3",
        "x" * 63 + ".example.com",
        "",
    ),
)
VIPS = Pool(
    ("240.0.0.7", "10.96.0.1", "10.96.0.2"),
    (
        "10.96.0.0/16",
        "2001:db8::5",
        "2001:db8::/32",
        ANY_ADDRESS,
        f"{ANY_ADDRESS}/0",
        "::/0",
        "10.96.0.1/32",
        "fe80::1%eth0",
        "127.0.0.1",
        "::ffff:10.96.0.1",
        "2001:DB8::5",
        "10.96.0.9/16",
        "*",
        "10.1.0.7",
    ),
)
CIDRS = Pool(
    ("10.0.0.0/8", "10.96.0.1", "10.96.0.0/16"),
    (
        f"{ANY_ADDRESS}/0",
        "2001:db8::/32",
        "::/0",
        "10.1.2.3/8",
        "fe80::1%1",
        "fe80::/10",
        "::ffff:0:0/96",
        "10.0.0.0/33",
        "",
    ),
)
BINDS = Pool(
    ("127.0.0.1", "10.1.0.7", ""),
    (
        ANY_ADDRESS,
        "::1",
        "unix:///tmp/a",
        "unix://@a",
        "unix:///" + "y" * 150,
        "::ffff:1.2.3.4",
        "fe80::1%2",
        "240.0.0.7",
        "::",
    ),
)
ENDPOINTS = Pool(
    ("127.0.0.1:8080", "127.0.0.1:8081"),
    (
        f"{ANY_ADDRESS}:80",
        "[::1]:80",
        "[::]:80",
        ":8080",
        "unix:///tmp/app",
        "unix://@app",
        "127.0.0.1:0",
        "127.0.0.1:\u0663",
        "unix:///" + "z" * 150,
        "10.0.0.1:80",
    ),
)
MIXERS = Pool(
    (f"{MIXER}:15004", ""),
    (
        "nobody.example.com:99999",
        "nobody.example.com:1",
        "[::1]:80",
        "bücher.example:1",
        f"{ONE}:80",
    ),
)
PORTS = Pool(
    (80, 81, 443, 9090),
    (82, 15001, 15006, 15008, 15021, 15090, 65535, 1, 0, 65536, 3306, 27017, 6379, 15053),
)
PROTOCOLS = Pool(
    ("HTTP", "TCP", "TLS", "GRPC"),
    ("HTTPS", "HTTP2", "MONGO", "MYSQL", "UDP", "http", "REDIS", "GRPC-WEB", "", "NOPE"),
)
PORT_NAMES = Pool(("http", "tcp", "grpc", "any", "tls"), ("x" * 63, "", "É", "http-1", "-"))
LOCALITIES = Pool(
    ("eu/a/b", "eu/a", "eu", "us/c"),
    ("", "*", "eu/*", "/", "eu//b", "a/b/c/d", "é/é", "eu/a/*", "*/a"),
)
FAILOVER_LABELS = Pool(
    ("topology.kubernetes.io/region", "app", "app=one"), ("=", "", "é", "a=b=c", "=a")
)
NETWORKS = Pool(("", "net-1"), ("é", "a b"))
IDENTITIES = Pool(
    ("spiffe://cluster.local/ns/shop/sa/a", "a.example.com"), ("*.example.com", "", "é", "://")
)
TRUST_DOMAINS = Pool(("cluster.local",), ("é", "a b", "x" * 63, "a/b", ""))
TRUST_ALIASES = Pool(("old.local",), ("é", "*", "a/b", "x" * 300, ""))
EGRESS = Pool(
    ("*/*", "./*", "shop/*", f"web/{TWO}", "istio-system/*", "*/*.example.com"),
    ("~/*", "~web/*", f"*/{API}", "x", f"./{ONE}", "*/*.com", "shop/ "),
)
SUBSETS = Pool(("v1", "v2"), ("", "V1", "a|b", "é", "nope", "x" * 63))
GATEWAYS = Pool(("mesh", "shop/gate", "gate"), ("a.b.c", "x/y/z", "", "istio-system/gate"))
NAMESPACES = Pool(("shop", "web"), ("", "istio-system", "é"))
EXPORTS = Pool(("*", ".", "web", "shop"), ("~", "istio-system", "é"))
ACCOUNTS = Pool(("a", "b"), ("", "é", "a/b", " "))
NAMES = Pool(("one", "two", "three", "gate"), ("a.b", "x" * 63, ".".join(["n" * 63] * 3 + ["n"])))
LABELS = Pool(
    (
        (("app", "one"),),
        (("app", "two"), ("version", "v1")),
        (("version", "v1"),),
    ),
    ((), (("a/b", "C_d."),), (("istio", "ingressgateway"),), (("app", "é"),)),
)
"""Labels as pairs: a pool holds nothing that can be changed."""
