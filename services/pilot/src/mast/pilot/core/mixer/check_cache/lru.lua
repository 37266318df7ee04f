-- The check cache, part 1: tables that forget what was not used for the longest time.

local ENTRIES = 10000 -- verdicts kept, and as many quota cells

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
