"""Texts by what they are for: names, paths, headers, expressions, formats."""

from tests.property.hostile.pools import Pool

TEXTS = Pool(
    ("a", "b", "a b"),
    (
        "",
        "é",
        "%",
        "50%",
        "%%",
        "a\nb",
        "a\r\nx: y",
        "\x00",
        "\x7f",
        "😀" * 40,
        "x" * 20_000,
        '"',
        "\\",
        "|",
        "a,b;c=d",
        "{}",
        "%REQ(x)%",
        "\u017f",
    ),
)
REGEXES = Pool(
    ("a.*", ".*", "/.*", "(a|b)+", "^/[a-z]+$"),
    (
        "*",
        "",
        "(",
        "[a-",
        "(?=x)",
        r"\1",
        r"(?P<n>x)",
        "(?i)abc",
        r"\C",
        r"[\pN]+",
        "a{1000}",
        "(a{100}){100}",
        "((a{30}){30}){30}",
        "[\u0100-\uffff]{90}",
        "x" * 1024,
        "é+",
        "\x00",
        "(a|b|c|d){800}",
        r"\Q.\E",
        "(?s).",
        "^$",
        "(?:)",
        "()" * 400,
        "[[:word:]]{900}",
        r"\x{10FFFF}",
    ),
)
PATHS = Pool(
    ("/", "/a", "/a/b"),
    (
        "",
        "a",
        "/a?b=c",
        "/a#b",
        "/a b",
        "/é",
        "/\x00",
        "/%zz",
        "//",
        "/a/../b",
        "/" + "x" * 20_000,
        "*",
        "http://x/",
        "/a\r\nb",
        "?",
        "#",
        "/{a}",
        "/a/{*}/b/{**}",
        "%REQ(x)%",
    ),
)
REWRITES = Pool(
    (r"/\1", "/a"), (r"\1", r"\9", "", "a", r"\x", "\\", r"\0\0", "é", "\x00", r"\10", "/%zz")
)
METHODS = Pool(("GET", "POST", "*"), ("get", "", "A B", "é"))
HEADERS = Pool(
    ("x-one", "X-Two", "user-agent", "cookie"),
    (
        ":path",
        ":method",
        ":authority",
        ":scheme",
        ":x",
        "host",
        "Host",
        "",
        "x y",
        "é",
        "x-" + "y" * 3_000,
        "connection",
        "transfer-encoding",
        "content-length",
        "te",
        "set-cookie",
        "x-envoy-retry-on",
        "x-envoy-internal",
        "grpc-status",
        "x\n",
        "x:",
        "!#$%&'*+.^_`|~",
        "@request.auth.claims.sub",
        "@request.auth.claims[a][b]",
        "@request.auth.claims",
        "@x",
    ),
)
PARAMETERS = Pool(("q", "r"), ("", "é", "a b", "a=b", "x" * 3_000, "\x00"))
HEADER_VALUES = Pool(
    ("a", "%REQ(x)%", "50%% of %PROTOCOL%", "%DOWNSTREAM_REMOTE_ADDRESS%"),
    (
        "",
        "%REQ()%",
        "%REQ(:PATH?X-Y):10%",
        "%DOWNSTREAM_REMOTE_ADDRESS():5%",
        "%NOPE%",
        "%NOPE(x)%",
        "%%",
        "%%%",
        "%START_TIME(%Y-%m)%",
        "%START_TIME(%f%E)%",
        '%UPSTREAM_METADATA(["a", "b"])%',
        "%UPSTREAM_METADATA(a:b)%",
        '%DYNAMIC_METADATA(["a"])%',
        "%DYNAMIC_METADATA(a:b:c):3%",
        "%FILTER_STATE(x:PLAIN)%",
        "%FILTER_STATE(x:NOPE)%",
        "%FILTER_STATE()%",
        "%PER_REQUEST_STATE(x)%",
        "%HOSTNAME%",
        "%ENVIRONMENT(X)%",
        "%CEL(request.path)%",
        "%CEL(xds.node.id)%",
        "%CEL(()%",
        "%QUERY_PARAM(x):3%",
        "%REQ(x):y%",
        "%REQ(x):-1%",
        "%REQ(x):99999999999999999999%",
        "%TRAILER(x)%",
        "%REQ(é)%",
        "%REQ(a b)%",
        "%REQ(\x7f)%",
        "%REQ(a?b?c)%",
        "%RESPONSE_FLAGS():3%",
        "%UPSTREAM_PEER_CERT_V_START(%b)%",
        "%DOWNSTREAM_PEER_CERT_V_START(%b)%",
        "%COALESCE({})%",
        "%REQUEST_HEADERS_BYTES():9%",
        "%COMMON_DURATION(DS_RX_BEG:US_TX_BEG:ms)%",
        "%COMMON_DURATION(x)%",
        "%SUBSTITUTE(a)%",
        "%PATH(WQ)%",
        "%PATH()%",
        "%QUERY_PARAMS(ORIG)%",
        "%QUERY_PARAMS(x)%",
        "%RESPONSE_CODE_DETAILS(x)%",
        "%CONNECTION_ID(x)%",
        "%METADATA(ROUTE:a:b)%",
        "%METADATA(NOPE:a)%",
        "%METADATA(CLUSTER)%",
        "%TLS_JA3_FINGERPRINT%",
        "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT(x)%",
        "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT(99)%",
        "%LOCAL_REPLY_BODY%",
        "%EMIT_TIME(%s)%",
        "%UNIQUE_ID%",
        "%request(x)%",
        "%REQ(x)",
        "REQ(x)%",
        "é",
        "a\nb",
        "\x00",
        "\t",
        " a ",
        "x" * 20_000,
        "%" * 2_000,
    ),
)
FORMATS = HEADER_VALUES + Pool(
    ('{"a": "%PROTOCOL%"}', "[%START_TIME%]\n"), ('{"a": {"b": ["%NOPE%"]}}', "{")
)
BODIES = Pool(("a", ""), ("é", "\x00", "%", "x" * 5_000, "x" * 1_100_000, "é" * 530_000))
STAT_PREFIXES = Pool(("stats", "a.b"), ("", "é", "\x00", "a b", "x" * 5_000, "%"))
STATISTICS = Pool(
    ("%SERVICE%", "%SERVICE_FQDN%_%SERVICE_PORT%"),
    ("", "a b", "\x00", "é", "x" * 3_000, "%", "%TARGET_PORT%", "%NOPE%"),
)
RETRY_ON = Pool(
    ("5xx", "connect-failure,503", "gateway-error, reset", "retriable-headers"),
    (
        "",
        ",",
        "599",
        "99",
        "\u0665\u0660\u0663",
        "5XX",
        "cancelled",
        "reset-before-request,200",
    ),
)
FILES = Pool(
    ("/etc/certs/a.pem", "/no/such"), ("", "a", "é", "\x00", "a~b", "x" * 5_000, "/a:b", "a|b")
)
CREDENTIALS = Pool(
    ("creds", "other"),
    ("configmap://shop/ca", "configmap://ca", "a/b", "kubernetes://a", "é", " ", "", "a-cacert"),
)
COOKIES = Pool(("session",), ("", "a b", "é", "a;b", "x" * 5_000, "a=b", "\n"))
ATTRIBUTES = Pool(("SameSite", "Secure"), ("", "é", "a;b"))
ATTRIBUTE_VALUES = Pool(("Strict", ""), ("é", "a;b", "x\ny"))
SOURCES = Pool(("shop", "web"), ("é", ""))
LOGS = Pool(("/dev/stdout", "", "/dev/null"), ("é",))
