-- A: nonce, become {state now: state then}, retry, credentialRetention.
-- Answers {unknown} | {illegal, state} | {credentialsRequired} | {changed, record}
if not present() or erased() then return { 'unknown' } end
if record('call') == A.nonce then return { 'changed', redis.call('HGETALL', RECORD) } end
local state = record('state')
local target = A.become[state]
if not target then return { 'illegal', state } end
if A.retry and redis.call('HLEN', SECRETS) < 2 then return { 'credentialsRequired' } end

local now = now_ms()
redis.call('HSET', RECORD, 'call', A.nonce, 'waits', 0)
enter(target, now)
if A.retry then redis.call('HSET', RECORD, 'retryFailed', 1, 'error', '') end
if lease_left(now) <= 0 then settle_dead_stop(now) end
return { 'changed', redis.call('HGETALL', RECORD) }
