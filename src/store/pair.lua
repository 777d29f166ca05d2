-- Two hashes per pair of accounts and folder: per tenant the registration (`active`, the migration that a second one
-- is refused for), and for all tenants the lease (`holder`, the run at work). A: op, and what it needs.
local PAIR = KEYS[1]
local A = cjson.decode(ARGV[1])
local now = now_ms()

local function left()
  return tonumber(redis.call('HGET', PAIR, 'until') or '0') - now
end

-- The hash lives as long as its lease, and one more for the fence.
local function tidy()
  if left() <= 0 then redis.call('DEL', PAIR) else redis.call('PEXPIRE', PAIR, ms(left() + A.lease)) end
end

local ops = {}

-- id, stamp, replace (stamp of a registration known to be stale), patience. Answers {reserved} | {taken, id,
-- stamp, fresh}: fresh ones belong to a migration that is about to be written.
function ops.reserve()
  local known = redis.call('HMGET', PAIR, 'active', 'stamp', 'pendingUntil')
  if known[1] and known[1] ~= A.id and known[2] ~= A.replace then
    return { 'taken', known[1], known[2], tonumber(known[3] or '0') > now and 1 or 0 }
  end
  redis.call('HSET', PAIR, 'active', A.id, 'stamp', A.stamp, 'pendingUntil', ms(now + A.patience))
  return { 'reserved' }
end

-- id: its record is written now.
function ops.confirm()
  if redis.call('HGET', PAIR, 'active') == A.id then redis.call('HDEL', PAIR, 'pendingUntil') end
  return { 'ok' }
end

-- id: its record is gone.
function ops.free()
  if redis.call('HGET', PAIR, 'active') == A.id then redis.call('DEL', PAIR) end
  return { 'ok' }
end

-- lease: starts the fence where one is due.
function ops.look()
  if redis.call('EXISTS', PAIR) == 1 then fence(PAIR, A.lease, now) end
  return { 'ok' }
end

-- runId, lease. Answers {acquired} | {held, by, ms}
function ops.acquire()
  local holder = redis.call('HGET', PAIR, 'holder')
  local fenced = fence(PAIR, A.lease, now)
  if holder ~= A.runId then
    if holder and left() > 0 then return { 'held', 'pair', left() } end
    if fenced > 0 then return { 'held', 'fence', fenced } end
  end
  redis.call('HSET', PAIR, 'holder', A.runId, 'until', ms(now + A.lease))
  tidy()
  return { 'acquired' }
end

-- runId, lease. Answers {ok} | {refused}
function ops.renew()
  if redis.call('HGET', PAIR, 'holder') ~= A.runId or left() <= 0 then return { 'refused' } end
  redis.call('HSET', PAIR, 'until', ms(now + A.lease))
  tidy()
  return { 'ok' }
end

-- runId, lease.
function ops.release()
  if redis.call('HGET', PAIR, 'holder') == A.runId then
    redis.call('HDEL', PAIR, 'holder', 'until')
    tidy()
  end
  return { 'ok' }
end

return ops[A.op]()
