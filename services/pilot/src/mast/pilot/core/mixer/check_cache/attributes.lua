-- The check cache, part 2: attributes of requests, and what tells requests apart (C2, C3, K).

local MARKS = "istio.mixer" -- what this script tells ext_authz and the access log
local PENDING = 4096 -- requests remembered until their response
local REMEMBERED = 1024 -- addresses of connections, and as many identities
local JWT = "envoy.filters.http.jwt_authn" -- where the payload of a verified token is
local FORWARDED = { "x-mast-peer", "x-istio-attributes" } -- what callers say of themselves

local pending, sequence = {}, 0

-- Attributes are text; nil means absent.

local function present(text)
  if text == nil or text == "" then
    return nil
  end
  return text
end

local function header(name)
  return function(request)
    return request.headers[name]
  end
end

-- A function of one text that remembers what it made of the last ones; it may make nothing.
local function remembering(make)
  local known, number = {}, 0
  return function(text)
    local made = text and known[text]
    if made == nil and text then
      made = make(text) or false
      if number >= REMEMBERED then
        known, number = {}, 0
      end
      known[text], number = made, number + 1
    end
    return made or nil
  end
end

local address_ip = remembering(function(address)
  local ip = address:match("^(.*):%d+$")
  return ip and (ip:match("^%[(.*)%]$") or ip)
end)

local address_port = remembering(function(address)
  return address:match(":(%d+)$")
end)

local spiffe_id = remembering(function(uri)
  return uri:match("^spiffe://(.+)$")
end)

-- The address of a connection. At the edge of the mesh a load balancer may have told it in front of
-- the connection: Mixer is asked about that one, which is the first of the two only without it.
local function origin(request)
  local peer = address_ip(request.info:downstreamDirectRemoteAddress())
  if not EDGE then
    return peer
  end
  return (peer or "") .. "\1" .. (address_ip(request.info:downstreamRemoteAddress()) or "")
end

local function split_path(request)
  local path = request.headers[":path"] or ""
  return path:match("^([^?]*)%??(.*)$")
end

local function principal(list)
  return spiffe_id(list and list[1])
end

local function peer(request)
  local tls = request.info:downstreamSslConnection()
  return tls and principal(tls:uriSanPeerCertificate())
end

local function protocol(request)
  local kind = request.headers["content-type"]
  if kind == "application/grpc" or kind == "application/grpc+proto" or kind == "application/grpc+json" then
    return "grpc"
  end
  return "http"
end

-- Who the caller is, is worked out by Mixer from all of these.
local function source(request)
  return table.concat({
    origin(request) or "",
    request.headers[FORWARDED[1]] or "",
    request.headers[FORWARDED[2]] or "",
    peer(request) or "",
  }, "\1")
end

-- The payload of the token that was verified, by name the first provider's; false if none was.
local function payload(request)
  if request.payload == nil then
    local payloads = request.info:dynamicMetadata():get(JWT) or {}
    local first
    for name, each in pairs(payloads) do
      if type(each) == "table" and (first == nil or name < first) then
        first = name
      end
    end
    request.payload = first and payloads[first] or false
  end
  return request.payload
end

-- The texts of a claim that is a text or a list of texts; empty if it has none.
local function texts(request, name)
  local found, token = {}, payload(request)
  local value = token and token[name]
  local list = type(value) == "table" and value or { value }
  for i = 1, table.maxn(list) do
    if type(list[i]) == "string" and list[i] ~= "" then
      found[#found + 1] = list[i]
    end
  end
  return found
end

local function claim(request, name)
  return present(table.concat(texts(request, name), ","))
end

local attributes = {
  ["source"] = source,
  ["request.host"] = header(":authority"),
  ["request.method"] = header(":method"),
  ["request.path"] = header(":path"),
  ["request.scheme"] = header(":scheme"),
  ["request.useragent"] = header("user-agent"),
  ["request.referer"] = header("referer"),
  ["request.id"] = header("x-request-id"),
  ["request.size"] = function(request)
    local length = request.headers["content-length"]
    return length and length:match("^%d+$")
  end,
  ["request.url_path"] = function(request)
    return (split_path(request))
  end,
  ["context.protocol"] = protocol,
  ["origin.ip"] = origin,
  ["source.principal"] = peer,
  ["source.user"] = peer,
  ["destination.principal"] = function(request)
    local tls = request.info:downstreamSslConnection()
    return tls and principal(tls:uriSanLocalCertificate())
  end,
  ["destination.ip"] = function(request)
    return address_ip(request.info:downstreamLocalAddress())
  end,
  ["destination.port"] = function(request)
    return address_port(request.info:downstreamLocalAddress())
  end,
  ["request.auth.principal"] = function(request)
    local issuer, subject = claim(request, "iss"), claim(request, "sub")
    return issuer and subject and issuer .. "/" .. subject
  end,
  ["request.auth.audiences"] = function(request)
    return texts(request, "aud")[1]
  end,
  ["request.auth.presenter"] = function(request)
    return claim(request, "azp")
  end,
  ["connection.mtls"] = function(request)
    local tls = request.info:downstreamSslConnection()
    return tostring(tls ~= nil and tls:peerCertificatePresented())
  end,
  ["connection.requested_server_name"] = function(request)
    return present(request.info:requestedServerName())
  end,
}
for _, part in ipairs({ "host", "name", "namespace", "uid" }) do
  attributes["destination.service." .. part] = function(request)
    return present(request.service["destination.service." .. part])
  end
end

local maps = {
  ["request.headers"] = function(request, key)
    return request.headers[key]
  end,
  ["request.query_params"] = function(request, key)
    local _, query = split_path(request)
    for pair in query:gmatch("[^&]+") do
      local name, value = pair:match("^([^=]*)=?(.*)$")
      if name == key then
        return value
      end
    end
  end,
  ["request.auth.claims"] = claim,
}

local whole_maps = {
  ["request.headers"] = function()
    return ""
  end,
  ["request.query_params"] = function(request)
    local _, query = split_path(request)
    return present(query)
  end,
  ["request.auth.claims"] = function(request)
    return payload(request) and "" or nil
  end,
}

local function value_of(request, name, key)
  if key then
    local read = maps[name]
    return read and read(request, key)
  end
  local read = attributes[name] or whole_maps[name]
  return read and read(request)
end

-- What is read by name, on demand.
local on_demand = {
  __index = function(self, name)
    return self[1]:get(name)
  end,
}

local function lazily(source)
  return setmetatable({ source }, on_demand)
end

local function request_of(handle)
  return {
    headers = lazily(handle:headers()),
    service = lazily(handle:metadata()),
    info = handle:streamInfo(),
  }
end

-- On the response path neither headers nor route of the request can be read: keep them till then.
local function remember(handle, now)
  local headers, service = {}, {}
  for name, value in pairs(handle:headers()) do
    local before = headers[name]
    headers[name] = before and (before .. "," .. value) or value
  end
  for name, value in pairs(handle:metadata()) do
    service[name] = value
  end
  sequence = sequence + 1
  pending[sequence % PENDING] = {
    number = sequence,
    asked = now,
    headers = headers,
    service = service,
  }
  return sequence
end

local function recall(handle, number)
  local slot = number % PENDING
  local request = pending[slot]
  if request == nil or request.number ~= number then
    return nil
  end
  pending[slot] = nil
  request.info = handle:streamInfo()
  return request
end

-- A shape is a list of {condition, name, key or nil}; condition "A" is absence, "E" exact.

local function shape_id(items)
  local parts = {}
  for _, item in ipairs(items) do
    parts[#parts + 1] = item[1] .. item[2] .. "\1" .. (item[3] or "")
  end
  return table.concat(parts, "\2")
end

-- What tells requests of one shape apart; nil if the request does not have the shape (C3).
local function signature(request, items)
  local parts = {}
  for _, item in ipairs(items) do
    local value = value_of(request, item[2], item[3])
    if item[1] == "A" then
      if value ~= nil then
        return nil
      end
    elseif value == nil then
      return nil
    else
      parts[#parts + 1] = value
    end
  end
  return table.concat(parts, "\0")
end

local function key_of(request, prefix, items)
  local sign = signature(request, items)
  return sign and (prefix .. "\3" .. shape_id(items) .. "\3" .. sign)
end
