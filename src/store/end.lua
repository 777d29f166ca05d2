-- A: runId, seq, nonce, become {state now: state then}, reason, nextRunAt, error, progress?, passComplete,
-- credentialRetention. Answers {ended, record} | {erased} | {refused, why}
local whose = turn()
-- A record that is gone has nothing left to end; so it is after a repeat of an `end` that erased it.
if whose == 'gone' then return { 'erased' } end
if whose == 'repeat' then return { 'ended', redis.call('HGETALL', RECORD) } end
if whose ~= 'next' then return { 'refused', whose } end
if erased() then
  erase_all()
  return { 'erased' }
end

local now = now_ms()
redis.call('HSET', RUN, 'seq', A.seq, 'nonce', A.nonce, 'leaseUntil', 0, 'endedIdentity', identity())
if A.progress then redis.call('HSET', RECORD, 'progress', A.progress) end
if A.passComplete then redis.call('HSET', RECORD, 'passComplete', 1, 'retryFailed', 0) end
local asked = A.become.running
local state = A.become[record('state')]
if state then
  enter(state, now)
  -- What the run says of its wait is true only where the API did not overrule it.
  if state == asked then
    redis.call('HSET', RECORD, 'stateReason', A.reason, 'nextRunAt', A.nextRunAt, 'error', A.error)
  end
end
if state == 'waiting' and redis.call('HGET', RUN, 'settled') == '0' then
  redis.call('HINCRBY', RECORD, 'waits', 1)
else
  redis.call('HSET', RECORD, 'waits', 0)
end
local row = record('runs')
redis.call('HSET', RUNS, row .. '.endedAt', ms(now), row .. '.final', record('progress'), row .. '.error', A.error,
  row .. '.outcome', (state or asked) == 'queued' and 'released' or (state or asked))
return { 'ended', redis.call('HGETALL', RECORD) }
