-- While a worker holds the lease, the record becomes invisible and is erased by whoever sees the lease end.
-- Answers {unknown} | {erased, pair} | {lettingGo, pair}
if not present() or erased() then return { 'unknown' } end
local pair = record('pair')
if lease_left(now_ms()) > 0 then
  redis.call('HSET', RECORD, 'tomb', 1)
  redis.call('DEL', SECRETS, DETAILS, UNFED, RUNS)
  return { 'lettingGo', pair }
end
erase_all()
return { 'erased', pair }
