-- A: runId, seq, nonce, recordsBefore?, updates [index], close [intent id], open [[id, json]],
-- epochs [[index, json]], details [[index, json, told]], drop [index], progress?
-- ARGV[2]: records to append; ARGV[3]: the records of `updates`, one after the other.
-- Answers {ok, wanted, rev, state} | {refused, why}
local RECORD_BYTES = 32

local function apply()
  redis.call('HSET', RUN, 'seq', A.seq, 'nonce', A.nonce)
  if #ARGV[2] > 0 then redis.call('APPEND', JOURNAL, ARGV[2]) end
  if #ARGV[2] + #ARGV[3] > 0 then redis.call('HSET', RUN, 'settled', 1) end
  for n, index in ipairs(A.updates) do
    local bytes = string.sub(ARGV[3], (n - 1) * RECORD_BYTES + 1, n * RECORD_BYTES)
    redis.call('SETRANGE', JOURNAL, ms(index * RECORD_BYTES), bytes)
  end
  for _, id in ipairs(A.close) do redis.call('HDEL', INTENTS, id) end
  for _, intent in ipairs(A.open) do redis.call('HSET', INTENTS, intent[1], intent[2]) end
  for _, epoch in ipairs(A.epochs) do redis.call('HSET', EPOCHS, epoch[1], epoch[2]) end
  for _, index in ipairs(A.drop) do
    redis.call('HDEL', DETAILS, ms(index))
    redis.call('SREM', UNFED, ms(index))
  end
  for _, detail in ipairs(A.details) do
    redis.call('HSET', DETAILS, ms(detail[1]), detail[2])
    if detail[3] then redis.call('SADD', UNFED, ms(detail[1])) end
  end
  if A.progress then redis.call('HSET', RECORD, 'progress', A.progress) end
  redis.call('HINCRBY', RECORD, 'rev', 1)
end

-- Everything is checked before anything is written: a script that fails half way is not undone.
local function mismatch()
  local records = redis.call('STRLEN', JOURNAL) / RECORD_BYTES
  if A.recordsBefore and A.recordsBefore ~= records then return 'length' end
  local after = records + #ARGV[2] / RECORD_BYTES
  for _, index in ipairs(A.updates) do
    if index < 0 or index >= after then return 'index' end
  end
end

local whose = turn()
if whose == 'next' then
  local why = mismatch()
  if why then return { 'refused', why } end
  apply()
elseif whose ~= 'repeat' then
  return { 'refused', whose }
end
return { 'ok', wanted(), tonumber(record('rev')), record('state') }
