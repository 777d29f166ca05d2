-- When to look at which migration next: `work` for what may have lost its worker or waits for a time, `backlog`
-- for what waits in the queue or for the end of its retention. Members are `tenant/id`, scores ms since 1970.
local WORK, BACKLOG = KEYS[1], KEYS[2]
local A = cjson.decode(ARGV[1])
local now = now_ms()

local function put(list, member, at)
  redis.call('ZREM', list == WORK and BACKLOG or WORK, member)
  redis.call('ZADD', list, ms(at), member)
end

local function list_of(name)
  return name == 'work' and WORK or BACKLOG
end

local ops = {}

-- member, list, delay
function ops.schedule()
  put(list_of(A.list), A.member, now + A.delay)
  return 1
end

-- limit, hold: gives [member, score, …] and puts each off, so that no other sweep takes it meanwhile and a sweep
-- that dies leaves it to the next one.
function ops.take()
  local taken = {}
  for _, list in ipairs({ WORK, BACKLOG }) do
    local room = A.limit - #taken / 2
    if room > 0 then
      local due = redis.call('ZRANGEBYSCORE', list, '-inf', ms(now), 'LIMIT', 0, room)
      for _, member in ipairs(due) do
        redis.call('ZADD', list, ms(now + A.hold), member)
        taken[#taken + 1] = member
        taken[#taken + 1] = ms(now + A.hold)
      end
    end
  end
  return taken
end

-- member, score, list, at (0: never): unless somebody scheduled it anew since it was taken.
function ops.settle()
  for _, list in ipairs({ WORK, BACKLOG }) do
    local score = redis.call('ZSCORE', list, A.member)
    if score and tonumber(score) == A.score then
      redis.call('ZREM', list, A.member)
      if A.at > 0 then put(list_of(A.list), A.member, A.at) end
      return 1
    end
  end
  return 0
end

-- members: those that nobody looks at are looked at now.
function ops.heal()
  for _, member in ipairs(A.members) do
    if not redis.call('ZSCORE', WORK, member) then redis.call('ZADD', BACKLOG, 'NX', ms(now), member) end
  end
  return 1
end

return ops[A.op]()
