-- The check cache, part 4: answers Mixer's checks, in front of ext_authz (mixer_proxy.md C, K4, K5).
--
-- Envoy keeps one copy of the state per worker and per listener. ext_authz is skipped only for
-- requests marked as hits here, so an error in this script leads to a check, never past it.

local VERDICT = "envoy.filters.http.ext_authz" -- what Mixer tells this script
local SHAPES = 64 -- sets of referenced attributes kept
local RENEW_MS = 500 -- how long Mixer's configuration counts as the one last heard of

local verdicts = new_lru(ENTRIES)
local shapes = {} -- in the order they became known
local configuration = { asked = 0, renewing_until = 0 } -- that all of these verdicts are of

-- Whether this request is to be checked although there is a verdict: to hear of a new configuration
-- while nothing else is asked. One request at a time does so.
local function renews(now)
  if configuration.id == nil or now - configuration.asked < RENEW_MS then
    return false
  end
  if now < configuration.renewing_until then
    return false
  end
  configuration.renewing_until = now + ASK_MS
  return true
end

-- Takes note of the configuration that a verdict is of; false if it is older than one known.
local function heard(id, asked)
  if id == configuration.id then
    configuration.asked = math.max(configuration.asked, asked)
  elseif asked < configuration.asked then
    return false
  else
    configuration.id, configuration.asked = id, asked
    verdicts, shapes = new_lru(ENTRIES), {}
    reopen()
  end
  configuration.renewing_until = 0
  return true
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

local function store(request, check)
  local items = check.shape or {}
  local key = key_of(request, "", items)
  if key == nil then
    return -- the shape does not fit the request that caused it (C2)
  end
  learn(items)
  lru_put(verdicts, key, {
    expires = check.valid_ms and request.asked + check.valid_ms,
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
  if entry and not renews(now) then
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
  marks:set(MARKS, "request", remember(handle, now))
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
  local counts = true
  if verdict.configuration or verdict.check then
    counts = heard(verdict.configuration, request.asked)
  end
  if verdict.grants then
    bank(request, verdict.grants, handle:timestamp())
  end
  if verdict.check and counts then
    store(request, verdict.check)
  end
  for _, name in ipairs(verdict.response_remove or {}) do
    handle:headers():remove(name)
  end
end
