-- A: runId, lease. Answers {ok, wanted} | {refused, why}. A lease that ran out is not brought back to life.
if not present() then return { 'refused', 'gone' } end
if redis.call('HGET', RUN, 'runId') ~= A.runId then return { 'refused', 'foreign' } end
local now = now_ms()
if lease_left(now) <= 0 then return { 'refused', 'expired' } end
redis.call('HSET', RUN, 'leaseUntil', ms(now + A.lease))
return { 'ok', wanted() }
