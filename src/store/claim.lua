-- A: runId, job, worker, lease, journalVersion, pair (true: the lease on the pair of accounts is held), busy
-- (another run holds it, for so long), busyError, credentialRetention.
-- Answers {superseded, record?} | {held, by, ms, record?} | {version, n} | {ready} (everything but the pair) |
-- {claimed, record, journal, intents, epochs, secrets, cleanEnd}
local now = now_ms()
if not present() then return { 'superseded' } end

local function deliver()
  return {
    'claimed', redis.call('HGETALL', RECORD), redis.call('GET', JOURNAL) or '', redis.call('HGETALL', INTENTS),
    redis.call('HGETALL', EPOCHS), redis.call('HGETALL', SECRETS), redis.call('HGET', RUN, 'cleanEnd'),
  }
end

local function asks_for_work(state)
  if state == 'running' then return true end
  if tonumber(record('claimed')) >= A.job then return false end
  return state == 'queued' or state == 'scheduled' or (state == 'waiting' and record('nextRunAt') ~= '')
end

if redis.call('HGET', RUN, 'runId') == A.runId then return deliver() end
if erased() then return { 'superseded' } end
local current_job = tonumber(record('job')) == A.job
local left = lease_left(now)
if left > 0 then
  if current_job then return { 'held', 'lease', left } end
  return { 'superseded' }
end
if settle_dead_stop(now) then return { 'superseded', redis.call('HGETALL', RECORD) } end
if not current_job or not asks_for_work(record('state')) then return { 'superseded' } end
local version = tonumber(record('journalVersion'))
if version > A.journalVersion then return { 'version', version } end
left = fence(RUN, A.lease, now)
if left > 0 then return { 'held', 'fence', left } end
if A.busy then
  enter('waiting', now)
  redis.call('HSET', RECORD, 'stateReason', 'destination_busy', 'nextRunAt', ms(now + A.busy), 'error', A.busyError)
  return { 'held', 'pair', A.busy, redis.call('HGETALL', RECORD) }
end
if not A.pair then return { 'ready' } end

-- A run that has no end was lost with its worker.
local last = record('runs')
if redis.call('HEXISTS', RUNS, last .. '.startedAt') == 1 and redis.call('HEXISTS', RUNS, last .. '.endedAt') == 0 then
  redis.call('HSET', RUNS, last .. '.endedAt', redis.call('HGET', RUN, 'leaseUntil'), last .. '.outcome', 'lost',
    last .. '.final', record('progress'))
end
local clean = redis.call('HGET', RUN, 'endedIdentity') == redis.call('HGET', RUN, 'identity')
  and redis.call('EXISTS', INTENTS) == 0
redis.call('HDEL', RUN, 'endedIdentity')
redis.call('HSET', RUN, 'runId', A.runId, 'seq', 0, 'nonce', '', 'leaseUntil', ms(now + A.lease),
  'cleanEnd', clean and 1 or 0, 'settled', 0)
enter('running', now)
redis.call('HSET', RECORD, 'claimed', A.job, 'error', '')
redis.call('HSETNX', RECORD, 'startedAt', ms(now))
local run = redis.call('HINCRBY', RECORD, 'runs', 1)
redis.call('HSET', RUNS, run .. '.startedAt', ms(now), run .. '.worker', A.worker, run .. '.base', record('progress'))
return deliver()
