"""Envoy's Lua filter without Envoy: runs a script in LuaJIT against made-up requests."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lupa.luajit21 import LuaError, LuaRuntime, lua_type

# The part of Envoy's stream handle that check_cache.lua uses; deprecated calls are not in it.
HANDLE = """
local function headers_of(list)
  local self = { list = list }
  function self:get(name)
    local found = {}
    for _, each in ipairs(self.list) do
      if each[1] == name then found[#found + 1] = each[2] end
    end
    if #found > 0 then return table.concat(found, ",") end
  end
  function self:add(name, value) self.list[#self.list + 1] = { name, value } end
  function self:remove(name)
    local kept = {}
    for _, each in ipairs(self.list) do
      if each[1] ~= name then kept[#kept + 1] = each end
    end
    self.list = kept
  end
  function self:replace(name, value) self:remove(name) self:add(name, value) end
  return self
end
local function each_header(headers)
  local i = 0
  return function()
    i = i + 1
    local pair = headers.list[i]
    if pair then return pair[1], pair[2] end
  end
end
local plain_pairs = pairs
function pairs(value)
  if type(value) == "table" and value.list and value.get then return each_header(value) end
  return plain_pairs(value)
end
local function constant(value) return function() return value end end
function new_handle(stream, headers)
  local marks = stream.metadata
  local dynamic = {}
  function dynamic:get(name) return marks[name] end
  function dynamic:set(name, key, value)
    marks[name] = marks[name] or {}
    marks[name][key] = value
  end
  local tls = stream.tls
  local ssl = tls and {
    uriSanPeerCertificate = constant(tls.peer),
    uriSanLocalCertificate = constant(tls.own),
    peerCertificatePresented = constant(#tls.peer > 0),
  }
  local info = {
    dynamicMetadata = constant(dynamic),
    downstreamDirectRemoteAddress = constant(stream.remote),
    downstreamRemoteAddress = constant(stream.client),
    downstreamLocalAddress = constant(stream.own),
    downstreamSslConnection = constant(ssl),
    requestedServerName = constant(stream.sni),
  }
  local service = headers_of(stream.service)
  local wrapped = headers_of(headers)
  local handle = {
    headers = constant(wrapped),
    streamInfo = constant(info),
    metadata = constant(service),
    timestamp = constant(stream.now),
  }
  function handle:clearRouteCache() stream.cleared = true end
  function handle:respond(headers_out, body)
    stream.response = { headers = headers_out, body = body }
    error("responded", 0)
  end
  handle.done = function() return wrapped.list end
  return handle
end
function run(phase, stream, headers)
  local handle = new_handle(stream, headers)
  local ok, problem = pcall(phase, handle)
  if not ok and problem ~= "responded" then error(problem, 0) end
  return handle.done()
end
"""


def plain(value: Any) -> Any:
    """A Lua value as Python lists and dicts; a table with integer keys from 1 is a list."""
    if lua_type(value) != "table":
        return value
    entries = dict(value.items())
    if entries and all(isinstance(key, int | float) for key in entries):
        return [plain(entries[key]) for key in sorted(entries)]
    return {key: plain(each) for key, each in entries.items()}


@dataclass
class Exchange:
    """One request under way, and what the script did with it."""

    script: "LuaFilter"
    stream: Any
    headers: list[tuple[str, str]] = field(default_factory=list)
    error: str = ""
    """Why the script failed; Envoy lets the request go on then, as it is."""

    @property
    def marks(self) -> dict[str, Any]:
        """What the script told other filters."""
        found = self.stream.metadata["istio.mixer"]
        return plain(found) if found is not None else {}

    @property
    def hit(self) -> bool:
        """The request was let pass without a check."""
        return self.marks.get("hit") is True

    @property
    def response(self) -> dict[str, Any] | None:
        """Headers and body of the script's own answer."""
        found = self.stream.response
        return plain(found) if found is not None else None

    def answered(
        self,
        verdict: Mapping[str, Any] | None,
        now: float,
        headers: Sequence[tuple[str, str]] = ((":status", "200"),),
    ) -> list[tuple[str, str]]:
        """Run the response path with the verdict's metadata; gives the response's headers."""
        runtime = self.script.runtime
        if verdict is not None:
            # A copy: the conversion wants every list to be in it once.
            copied = json.loads(json.dumps(verdict))
            table = runtime.table_from(copied, recursive=True)
            self.stream.metadata["envoy.filters.http.ext_authz"] = table
        self.stream.now = now
        return self.script.run("envoy_on_response", self.stream, headers)


class LuaFilter:
    """A script with its state, as one worker of one listener has it."""

    def __init__(self, source: str) -> None:
        self.runtime = LuaRuntime(unpack_returned_tuples=True)
        self.runtime.execute(HANDLE)
        self.runtime.execute(source)

    def run(
        self, phase: str, stream: Any, headers: Sequence[tuple[str, str]]
    ) -> list[tuple[str, str]]:
        """Call one of the script's functions; gives the headers afterwards."""
        lua = self.runtime.globals()
        table = self.runtime.table_from([list(each) for each in headers], recursive=True)
        found = lua.run(lua[phase], stream, table)
        return [(each[1], each[2]) for each in found.values()]

    def request(
        self,
        headers: Mapping[str, str] | Sequence[tuple[str, str]] = (),
        *,
        now: float = 0,
        remote: str = "10.0.0.1:40000",
        client: str = "",
        own: str = "10.0.0.2:9080",
        peer: str = "",
        sni: str = "",
        service: Mapping[str, str] | None = None,
        tokens: Mapping[str, Any] | None = None,
        may_fail: bool = False,
    ) -> Exchange:
        """Run the request path; ``now`` is in milliseconds, ``peer`` the caller's SPIFFE ID.

        ``client`` is who a load balancer says it is, ``tokens`` are payloads of verified tokens by
        provider.
        """
        given = list(headers.items()) if isinstance(headers, Mapping) else list(headers)
        names = {name for name, _ in given}
        base = [(":path", "/"), (":method", "GET"), (":authority", "ratings:9080")]
        every = [*((n, v) for n, v in base if n not in names), *given]
        metadata = [list(each) for each in (service or {}).items()]
        tls = {"peer": [peer], "own": ["spiffe://cluster.local/ns/b/sa/own"]} if peer else None
        stream = self.runtime.table_from(
            {
                "metadata": {"envoy.filters.http.jwt_authn": tokens} if tokens else {},
                "remote": remote,
                "client": client or remote,
                "own": own,
                "sni": sni,
                "service": metadata,
                "now": now,
                **({"tls": tls} if tls else {}),
            },
            recursive=True,
        )
        exchange = Exchange(self, stream)
        try:
            exchange.headers = self.run("envoy_on_request", stream, every)
        except LuaError as error:
            if not may_fail:
                raise
            exchange.error = str(error)
        return exchange
