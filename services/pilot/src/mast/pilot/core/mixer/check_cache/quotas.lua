-- The check cache, part 3: quota tokens that Mixer granted to this worker (C10, C11).

local RATE_SLOTS, SLOT_MS = 10, 100 -- the last 1000 ms of demand
local CLOSED_MS = 500 -- between asks while the quota is exhausted
local ASK_MS = 5000 -- an ask without answer is given up
local IDLE_MS = 600000 -- a quota cell without requests is dropped

local cells = new_lru(ENTRIES)

local function cell_of(key, now)
  local cell = lru_get(cells, key)
  if cell == nil or now - cell.seen > IDLE_MS then
    cell = { batches = {}, slots = {}, closed_until = 0, asked_until = 0, warm = false }
    lru_put(cells, key, cell)
  end
  cell.seen = now
  return cell
end

-- What was exhausted may not be any more.
local function reopen()
  for _, node in pairs(cells.nodes) do
    node.value.closed_until = 0
  end
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
        local batch = { count = rest, expires = request.asked + grant.valid_ms }
        cell.batches[#cell.batches + 1] = batch
      end
      cell.warm, cell.asked_until = true, 0
      cell.closed_until = grant.granted < grant.asked and now + CLOSED_MS or 0
    end
  end
end
