-- A: nonce, sealed {source?, destination?}, auth {sourceAuth?, destinationAuth?}, credentialRetention.
-- Answers {unknown} | {changed, record}
if not present() or erased() then return { 'unknown' } end
if record('call') == A.nonce then return { 'changed', redis.call('HGETALL', RECORD) } end
redis.call('HSET', RECORD, 'call', A.nonce, 'waits', 0)
for field, value in pairs(A.auth) do redis.call('HSET', RECORD, field, value) end
for field, value in pairs(A.sealed) do redis.call('HSET', SECRETS, field, value) end

local state = record('state')
if ENDED[state] then
  redis.call('PEXPIRE', SECRETS, ms(A.credentialRetention))
elseif state == 'waiting' and record('stateReason') == 'credentials_required' and redis.call('HLEN', SECRETS) == 2 then
  enter('queued', now_ms())
  return { 'changed', redis.call('HGETALL', RECORD) }
end
redis.call('HINCRBY', RECORD, 'rev', 1)
return { 'changed', redis.call('HGETALL', RECORD) }
