-- Answers Mixer's checks from a cache, in front of ext_authz (mixer_proxy.md C.1 to C.3, K4, K5).
--
-- Envoy keeps one copy of this state per worker and per listener. ext_authz is skipped only for
-- requests marked as hits here, so an error in this script leads to a check, never past it.

local MARKS = "istio.mixer" -- what this script tells ext_authz and the access log
local VERDICT = "envoy.filters.http.ext_authz" -- what Mixer tells this script
local ENTRIES = 10000 -- verdicts kept, and as many quota cells
local SHAPES = 64 -- sets of referenced attributes kept
local PENDING = 4096 -- requests remembered until their response
local RATE_SLOTS, SLOT_MS = 10, 100 -- the last 1000 ms of demand
local CLOSED_MS = 500 -- between asks while the quota is exhausted
local ASK_MS = 5000 -- an ask without answer is given up
local IDLE_MS = 600000 -- a quota cell without requests is dropped

-- Least recently used first to go.

local function new_lru(limit)
  local head = {}
  head.newer, head.older = head, head
  return { limit = limit, size = 0, nodes = {}, head = head }
end

local function unlink(node)
  node.newer.older, node.older.newer = node.older, node.newer
end

local function push(lru, node)
  local head = lru.head
  node.newer, node.older = head, head.older
  head.older.newer = node
  head.older = node
end

local function lru_remove(lru, key)
  local node = lru.nodes[key]
  if node then
    unlink(node)
    lru.nodes[key] = nil
    lru.size = lru.size - 1
  end
end

local function lru_get(lru, key)
  local node = lru.nodes[key]
  if not node then
    return nil
  end
  unlink(node)
  push(lru, node)
  return node.value
end

local function lru_put(lru, key, value)
  lru_remove(lru, key)
  if lru.limit == 0 then
    return
  end
  if lru.size >= lru.limit then
    lru_remove(lru, lru.head.newer.key)
  end
  local node = { key = key, value = value }
  lru.nodes[key] = node
  push(lru, node)
  lru.size = lru.size + 1
end

local verdicts = new_lru(ENTRIES)
local cells = new_lru(ENTRIES)
local shapes = {} -- in the order they became known
local pending, sequence = {}, 0

-- Attributes of a request, as text; nil means absent.

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

local function address_ip(address)
  local ip = address and address:match("^(.*):%d+$")
  return ip and (ip:match("^%[(.*)%]$") or ip)
end

local function split_path(request)
  local path = request.headers[":path"] or ""
  return path:match("^([^?]*)%??(.*)$")
end

local function principal(list)
  local uri = list and list[1]
  return uri and uri:match("^spiffe://(.+)$")
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

local FORWARDED = { "x-mast-peer", "x-istio-attributes" }

-- Who the caller is, is worked out by Mixer from all of these.
local function source(request)
  return table.concat({
    address_ip(request.info:downstreamDirectRemoteAddress()) or "",
    request.headers[FORWARDED[1]] or "",
    request.headers[FORWARDED[2]] or "",
    peer(request) or "",
  }, "\1")
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
  ["origin.ip"] = function(request)
    return address_ip(request.info:downstreamDirectRemoteAddress())
  end,
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
    return request.info:downstreamLocalAddress():match(":(%d+)$")
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
}

local whole_maps = {
  ["request.headers"] = function()
    return ""
  end,
  ["request.query_params"] = function(request)
    local _, query = split_path(request)
    return present(query)
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
local function lazily(source)
  return setmetatable({}, {
    __index = function(_, name)
      return source:get(name)
    end,
  })
end

local function request_of(handle)
  return {
    headers = lazily(handle:headers()),
    service = lazily(handle:metadata()),
    info = handle:streamInfo(),
  }
end

-- On the response path neither headers nor route of the request can be read: keep them till then.
local function remember(handle)
  local headers, service = {}, {}
  for name, value in pairs(handle:headers()) do
    local before = headers[name]
    headers[name] = before and (before .. "," .. value) or value
  end
  for name, value in pairs(handle:metadata()) do
    service[name] = value
  end
  sequence = sequence + 1
  pending[sequence % PENDING] = { number = sequence, headers = headers, service = service }
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

local function learn(items)
  local id = shape_id(items)
  for _, shape in ipairs(shapes) do
    if shape.id == id then
      return
    end
  end
  if #shapes >= SHAPES then
    table.remove(shapes, 1)
  end
  shapes[#shapes + 1] = { id = id, items = items }
end

local function find(request, now)
  for _, shape in ipairs(shapes) do
    local sign = signature(request, shape.items)
    if sign then
      local key = "\3" .. shape.id .. "\3" .. sign
      local entry = lru_get(verdicts, key)
      if entry then
        if (entry.expires and now > entry.expires) or entry.uses == 0 then
          lru_remove(verdicts, key)
        else
          if entry.uses > 0 then
            entry.uses = entry.uses - 1
          end
          return entry
        end
      end
    end
  end
end

-- Quota cells: tokens that Mixer granted to this worker and that are not spent yet (C10, C11).

local function cell_of(key, now)
  local cell = lru_get(cells, key)
  if cell == nil or now - cell.seen > IDLE_MS then
    cell = { batches = {}, slots = {}, closed_until = 0, asked_until = 0, warm = false }
    lru_put(cells, key, cell)
  end
  cell.seen = now
  return cell
end

local function tokens(cell, now)
  local sum, batches = 0, cell.batches
  while batches[1] and (now > batches[1].expires or batches[1].count <= 0) do
    table.remove(batches, 1)
  end
  for _, batch in ipairs(batches) do
    sum = sum + batch.count
  end
  return sum
end

local function spend(cell, amount)
  for _, batch in ipairs(cell.batches) do
    local part = math.min(batch.count, amount)
    batch.count = batch.count - part
    amount = amount - part
  end
end

-- Counts a request and gives how many there were in the last second, this one included.
local function demand(cell, now)
  local tick = math.floor(now / SLOT_MS)
  local slot = tick % RATE_SLOTS
  local mine = cell.slots[slot]
  if mine == nil or mine.tick ~= tick then
    mine = { tick = tick, count = 0 }
    cell.slots[slot] = mine
  end
  mine.count = mine.count + 1
  local sum = 0
  for _, each in pairs(cell.slots) do
    if tick - each.tick < RATE_SLOTS then
      sum = sum + each.count
    end
  end
  return sum
end

-- Spends the tokens of all quotas of a verdict, or of none: then it gives what to ask Mixer for,
-- by quota, and the names of the quotas that are known to be exhausted.
local function take(request, quotas, now)
  local found, wanted, asks, exhausted = {}, {}, {}, {}
  for i, quota in ipairs(quotas) do
    local key = key_of(request, quota.name, quota.shape or {})
    found[i] = key and cell_of(key, now)
    if found[i] then
      wanted[i] = demand(found[i], now)
    end
    if not found[i] or tokens(found[i], now) < quota.charge then
      asks[quota.name] = quota.charge
      if found[i] and now < found[i].closed_until then
        exhausted[#exhausted + 1] = quota.name
      end
    end
  end
  if next(asks) == nil then
    for i, quota in ipairs(quotas) do
      spend(found[i], quota.charge)
    end
    return nil, exhausted
  end
  -- Beyond its own charge a request asks for the demand of the last second, one request at a time.
  for i, quota in ipairs(quotas) do
    local cell = found[i]
    if #exhausted == 0 and asks[quota.name] and cell and cell.warm and now > cell.asked_until then
      asks[quota.name] = wanted[i] * quota.charge
      cell.asked_until = now + ASK_MS
    end
  end
  return asks, exhausted
end

local function bank(request, grants, now)
  for _, grant in ipairs(grants) do
    local key = key_of(request, grant.name, grant.shape or {})
    if key then
      local cell = cell_of(key, now)
      local rest = grant.granted
      if grant.granted >= grant.charge then
        rest = grant.granted - grant.charge
      end
      if rest > 0 then
        local batch = { count = rest, expires = now + grant.valid_ms }
        cell.batches[#cell.batches + 1] = batch
      end
      cell.warm, cell.asked_until = true, 0
      cell.closed_until = grant.granted < grant.asked and now + CLOSED_MS or 0
    end
  end
end

-- Verdicts

local function store(request, check, now)
  local items = check.shape or {}
  local key = key_of(request, "", items)
  if key == nil then
    return -- the shape does not fit the request that caused it (C2)
  end
  learn(items)
  lru_put(verdicts, key, {
    expires = check.valid_ms and now + check.valid_ms,
    uses = check.uses,
    check = check,
  })
end

-- As ext_authz does it on a miss: to a request header it appends with a comma, a response gets
-- one more header.
local function apply(headers, operations, joined)
  for _, each in ipairs(operations.set or {}) do
    headers:replace(each[1], each[2])
  end
  for _, each in ipairs(operations.append or {}) do
    local before = joined and headers:get(each[1])
    if before then
      headers:replace(each[1], before .. "," .. each[2])
    else
      headers:add(each[1], each[2])
    end
  end
  for _, name in ipairs(operations.remove or {}) do
    headers:remove(name)
  end
end

local function deny(handle, marks, denial)
  local headers = { [":status"] = tostring(denial.http) }
  for _, each in ipairs(denial.headers or {}) do
    local name, value = each[1], each[2]
    local before = headers[name]
    if before == nil then
      headers[name] = value
    elseif type(before) == "table" then
      before[#before + 1] = value
    else
      headers[name] = { before, value }
    end
  end
  marks:set(MARKS, "cache_hit", true)
  if denial.code ~= 0 then
    marks:set(MARKS, "error_code", denial.code)
    marks:set(MARKS, "error_message", denial.message or "")
  end
  handle:respond(headers, denial.body or "")
end

local function exhausted_denial(names)
  local message = "Quota is exhausted for: " .. table.concat(names, ",")
  return { http = 429, code = 8, message = message, body = "RESOURCE_EXHAUSTED:" .. message }
end

function envoy_on_request(handle)
  local now = handle:timestamp()
  local request = request_of(handle)
  local marks = request.info:dynamicMetadata()
  local entry = find(request, now)
  local asks, exhausted
  if entry then
    local check = entry.check
    if check.denial then
      return deny(handle, marks, check.denial)
    end
    if check.quotas then
      asks, exhausted = take(request, check.quotas, now)
    end
    if asks == nil then
      if check.request_operations then
        apply(handle:headers(), check.request_operations, true)
        handle:clearRouteCache()
      end
      marks:set(MARKS, "cache_hit", true)
      if check.quotas then
        marks:set(MARKS, "quota_cache_hit", true)
      end
      if check.response_operations then
        marks:set(MARKS, "response_operations", check.response_operations)
      end
      marks:set(MARKS, "hit", true)
      return
    end
    if #exhausted > 0 then
      marks:set(MARKS, "quota_cache_hit", true)
      return deny(handle, marks, exhausted_denial(exhausted))
    end
    marks:set(MARKS, "asks", asks)
  end
  marks:set(MARKS, "request", remember(handle))
end

function envoy_on_response(handle)
  local metadata = handle:streamInfo():dynamicMetadata()
  local marks = metadata:get(MARKS)
  if marks == nil then
    return
  end
  if marks.response_operations then
    apply(handle:headers(), marks.response_operations, false)
  end
  if marks.request == nil then
    return
  end
  local request = recall(handle, marks.request)
  local verdict = metadata:get(VERDICT)
  if request == nil or verdict == nil then
    return
  end
  local now = handle:timestamp()
  if verdict.check then
    store(request, verdict.check, now)
  end
  if verdict.grants then
    bank(request, verdict.grants, now)
  end
  for _, name in ipairs(verdict.response_remove or {}) do
    handle:headers():remove(name)
  end
end
