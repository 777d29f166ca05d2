-- What the sweep has to do about one migration. A: retention, credentialRetention, after, before (bounds of the
-- growing pause between two looks at the same job, ms).
-- Answers {verdict, look at (ms since 1970, 0: never), record, unfed, pair}: verdict gone | erased | idle | work
local now = now_ms()
if not present() then return { 'gone', 0, {}, 0, '' } end
local pair = record('pair')

local function answer(verdict, look)
  return { verdict, look, redis.call('HGETALL', RECORD), redis.call('SCARD', UNFED), pair }
end

-- The longer a job waits for a worker, the less often it is looked at: it is in the queue.
local function work(since)
  if record('claimed') == record('job') then redis.call('HINCRBY', RECORD, 'job', 1) end
  return answer('work', now + math.max(A.after, math.min(A.before, now - since)))
end

local left = lease_left(now)
if left > 0 then return answer('idle', now + left + 500) end
if erased() then
  erase_all()
  return { 'erased', 0, {}, 0, pair }
end
settle_dead_stop(now)
local state = record('state')
if ENDED[state] then
  local due = tonumber(record('finishedAt')) + A.retention
  if now < due then return answer('idle', due) end
  erase_all()
  return { 'erased', 0, {}, 0, pair }
elseif state == 'running' then
  return work(tonumber(redis.call('HGET', RUN, 'leaseUntil')))
elseif state == 'queued' then
  return work(tonumber(record('since')))
elseif record('nextRunAt') ~= '' then
  local due = tonumber(record('nextRunAt'))
  if now < due then return answer('idle', due) end
  return work(due)
end
return answer('idle', 0)
