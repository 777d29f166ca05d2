-- Shared head of every script over one migration. All of them get the same keys, in this order, all with the
-- hash tag of the migration; ARGV[1] is a JSON object `A`, binary arguments follow it.
local RECORD, RUN, JOURNAL, INTENTS, EPOCHS, DETAILS, UNFED, RUNS, SECRETS = unpack(KEYS)
local A = cjson.decode(ARGV[1])

local function record(field)
  return redis.call('HGET', RECORD, field) or ''
end

local function present()
  return redis.call('EXISTS', RECORD) == 1
end

local function erased()
  return record('tomb') ~= ''
end

local function lease_left(now)
  return tonumber(redis.call('HGET', RUN, 'leaseUntil') or '0') - now
end

local function erase_all()
  redis.call('DEL', unpack(KEYS))
end

-- What the API wants of the run at work.
local function wanted()
  if erased() then return 'gone' end
  local state = record('state')
  if state == 'canceling' or state == 'canceled' then return 'cancel' end
  if state == 'pausing' or state == 'paused' then return 'pause' end
  return 'run'
end

local ENDED = { completed = true, completedWithFailures = true, failed = true, canceled = true }

-- Credentials are dropped when nothing can need them, and kept for a time after a failure, for `retry`.
local function settle_secrets(state)
  if state == 'completed' or state == 'canceled' then
    redis.call('DEL', SECRETS)
  elseif ENDED[state] then
    redis.call('PEXPIRE', SECRETS, ms(A.credentialRetention))
  else
    redis.call('PERSIST', SECRETS)
  end
end

-- Puts the record into a state, with all that goes with it. Counts `rev`, by which feeds know old from new.
local function enter(state, now)
  redis.call('HSET', RECORD, 'state', state, 'stateReason', '', 'nextRunAt', '', 'since', ms(now),
    'finishedAt', ENDED[state] and ms(now) or '')
  if state == 'queued' then redis.call('HINCRBY', RECORD, 'job', 1) end
  settle_secrets(state)
  redis.call('HINCRBY', RECORD, 'rev', 1)
end

-- A worker that vanished while it was asked to stop has stopped.
local function settle_dead_stop(now)
  local state = record('state')
  if state ~= 'pausing' and state ~= 'canceling' then return false end
  enter(state == 'pausing' and 'paused' or 'canceled', now)
  return true
end

-- Whose turn it is: only seq + 1 of the current run. The very call that was applied last is a `repeat`: a client
-- re-sends what it had no answer for when its connection broke.
local function turn()
  if not present() then return 'gone' end
  local run = redis.call('HMGET', RUN, 'runId', 'seq', 'nonce')
  if run[1] ~= A.runId then return 'foreign' end
  local seq = tonumber(run[2])
  if A.seq == seq and A.nonce == run[3] then return 'repeat' end
  if A.seq ~= seq + 1 then return 'stale' end
  return 'next'
end
