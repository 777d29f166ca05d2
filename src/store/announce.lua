-- Feeds what is shared by a tenant: the summary for lists, and the event. A: id, rev, summary?, event?, gap,
-- maxLength, maxAge. Nothing older replaces or follows something newer.
-- Answers 0, or how many ms to wait until this event may come (at most one each `gap` per migration).
local SUMMARIES, STREAM, FED = KEYS[1], KEYS[2], KEYS[3]
local A = cjson.decode(ARGV[1])
local now = now_ms()

if A.summary then
  local known = redis.call('HGET', SUMMARIES, A.id)
  local rev = known and tonumber(string.match(known, '^%d+')) or 0
  if A.rev >= rev then redis.call('HSET', SUMMARIES, A.id, ms(A.rev) .. '|' .. A.summary) end
end
if not A.event then return 0 end

local rev, at = string.match(redis.call('HGET', FED, A.id) or '0:0', '(%d+):(%d+)')
if tonumber(rev) >= A.rev then return 0 end
local wait = tonumber(at) + A.gap - now
-- A clock that was set back must not hold events up.
if wait > 0 and wait <= A.gap then return wait end
redis.call('XADD', STREAM, 'MAXLEN', '~', A.maxLength, '*', 't', 'migration', 'm', A.id, 'd', A.event)
redis.call('XTRIM', STREAM, 'MINID', '~', ms(now - A.maxAge))
redis.call('HSET', FED, A.id, ms(A.rev) .. ':' .. ms(now))
return 0
