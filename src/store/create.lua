-- A: fields {name: text}, secrets {source, destination}. A repeat finds its own record and changes nothing.
if not present() then
  local now = now_ms()
  for name, value in pairs(A.fields) do
    redis.call('HSET', RECORD, name, value)
  end
  redis.call('HSET', RECORD, 'state', 'queued', 'createdAt', ms(now), 'since', ms(now), 'job', 1, 'claimed', 0,
    'runs', 0, 'rev', 1)
  -- Nothing was ever under way: as good as a run that ended in order.
  redis.call('HSET', RUN, 'identity', identity(), 'endedIdentity', identity())
  redis.call('HSET', SECRETS, 'source', A.secrets.source, 'destination', A.secrets.destination)
end
return redis.call('HGETALL', RECORD)
