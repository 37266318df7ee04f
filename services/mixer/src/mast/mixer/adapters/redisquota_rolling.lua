-- A window that always ends now, in buckets: KEYS buckets (a hash of amounts by number), answer to
-- this id; ARGV amount, limit, window in ms, whether less will do, bucket in ms, whether there is an
-- id, stock, and how many stocks there are in what is left. Gives what is granted and the window in
-- ms.
local amount, limit, window = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local bucket, identified = tonumber(ARGV[5]), ARGV[6] == '1'
if identified then
  local before = redis.call('GET', KEYS[2])
  if before then
    return {tonumber(before), window}
  end
end
local time = redis.call('TIME')
local now = math.floor((time[1] * 1000 + math.floor(time[2] / 1000)) / bucket)
local oldest = now - math.ceil(window / bucket)
local used, numbers, amounts = 0, {}, {}
local all = redis.call('HGETALL', KEYS[1])
for index = 1, #all, 2 do
  local number = tonumber(all[index])
  if number < oldest then
    redis.call('HDEL', KEYS[1], all[index])
  else
    numbers[#numbers + 1] = number
    amounts[number] = tonumber(all[index + 1])
    used = used + amounts[number]
  end
end
local granted = amount
if amount < 0 then
  -- Given back, the newest first.
  table.sort(numbers, function(a, b) return a > b end)
  local left = -amount
  for _, number in ipairs(numbers) do
    local back = math.min(left, amounts[number])
    redis.call('HINCRBY', KEYS[1], number, -back)
    left = left - back
  end
  granted = amount + left
else
  if used + amount > limit then
    granted = ARGV[4] == '1' and math.max(limit - used, 0) or 0
  else
    local left = limit - used - amount
    granted = amount + math.min(tonumber(ARGV[7]), math.floor(left / tonumber(ARGV[8])))
  end
  if granted > 0 then
    redis.call('HINCRBY', KEYS[1], now, granted)
    redis.call('PEXPIRE', KEYS[1], window + 2 * bucket)
  end
end
if identified then
  redis.call('SET', KEYS[2], granted, 'PX', window)
end
return {granted, window}
