-- A: op (begin: digest, nonce, pending | keep: answer, kept). Answers {fresh} | {known, digest, answer?}
local A = cjson.decode(ARGV[1])
local ops = {}

function ops.begin()
  local known = redis.call('HMGET', KEYS[1], 'digest', 'answer', 'nonce')
  if known[1] and known[3] ~= A.nonce then return { 'known', known[1], known[2] or '' } end
  redis.call('HSET', KEYS[1], 'digest', A.digest, 'nonce', A.nonce)
  redis.call('PEXPIRE', KEYS[1], A.pending)
  return { 'fresh' }
end

function ops.keep()
  if redis.call('EXISTS', KEYS[1]) == 1 then
    redis.call('HSET', KEYS[1], 'answer', A.answer)
    redis.call('PEXPIRE', KEYS[1], A.kept)
  end
  return { 'kept' }
end

return ops[A.op]()
