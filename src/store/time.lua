-- Redis numbers become text without an exponent.
local function ms(number)
  return string.format('%.0f', number)
end

-- The one clock that all processes share.
local function now_ms()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

-- Which Redis process this is, and which history of writes it continues. Another identity than the one that a
-- lease was taken under means that the last writes may be lost, the lease among them.
local function identity()
  local run = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
  local history = string.match(redis.call('INFO', 'replication'), 'master_replid:(%w+)')
  return run .. ':' .. history
end

-- Keeps the identity in a hash; after a change of it, a fence of one lease stands before whoever comes next.
-- Gives how long it stands yet, in milliseconds, 0 or less for none.
local function fence(key, lease, now)
  local current = identity()
  local known = redis.call('HMGET', key, 'identity', 'fenceUntil')
  if known[1] == current then return tonumber(known[2] or '0') - now end
  redis.call('HSET', key, 'identity', current)
  if not known[1] then return 0 end
  redis.call('HSET', key, 'fenceUntil', ms(now + lease))
  return lease
end
