-- A window that begins with the first amount: KEYS counter, answer to this id; ARGV amount, limit,
-- window in ms, whether less will do, (bucket), whether there is an id, stock, and how many stocks
-- there are in what is left. Gives what is granted and the rest of the window in ms.
local amount, limit, window = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local identified = ARGV[6] == '1'
local rest = redis.call('PTTL', KEYS[1])
if rest <= 0 then
  rest = window
end
if identified then
  local before = redis.call('GET', KEYS[2])
  if before then
    return {tonumber(before), rest}
  end
end
local used = tonumber(redis.call('GET', KEYS[1]) or '0')
local granted = amount
if amount < 0 then
  granted = -math.min(-amount, used)
elseif used + amount > limit then
  granted = ARGV[4] == '1' and math.max(limit - used, 0) or 0
else
  local left = limit - used - amount
  granted = amount + math.min(tonumber(ARGV[7]), math.floor(left / tonumber(ARGV[8])))
end
if granted ~= 0 then
  redis.call('SET', KEYS[1], used + granted, 'PX', rest)
end
if identified then
  redis.call('SET', KEYS[2], granted, 'PX', rest)
end
return {granted, rest}
