-- A: fields {name: text}. Answers {unknown} | {changed, record}
if not present() or erased() then return { 'unknown' } end
for name, value in pairs(A.fields) do redis.call('HSET', RECORD, name, value) end
redis.call('HINCRBY', RECORD, 'rev', 1)
return { 'changed', redis.call('HGETALL', RECORD) }
