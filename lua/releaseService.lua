--[[
  Give a service up: the StatefulRoute is deleted. What is ours goes; what an app wrote stays, with the app's own word.

  KEYS[1]  hash    the service states      sf:{ns:state:svc}
  KEYS[2]  hash    the operator's records  sf:{ns:state:svc}#op
  KEYS[3]  string  the owner               sf:{ns:state:svc}#own
  KEYS[4]  hash    the configuration       sf:{ns:state:svc}#cfg
  KEYS[5]  stream  effective changes       sf:{ns:state:svc}#ev
  KEYS[6]  stream  moves                   sf:{ns:state:svc}#mv
  ARGV[1]  the caller, as in #own
  ARGV[2]  PUBLISH, or SPUBLISH on a Redis Cluster
  ARGV[3]  the service's channel, where callers are woken  sf:{ns:state:svc}#ch
  ARGV[4]  seconds that the stream of moves stays, 0 for not at all

  Returns  1 when it was the caller's, 0 when it was somebody else's or nobody's (nothing is changed then)
  Callers' hints are left to expire, which takes a minute. The counts go, too, S#n: nobody keeps them up from then on. Neither
  is a declared key: they may not be there, and a Redis Cluster refuses scripts with such a one while the slot moves.
]]
if redis.call('GET', KEYS[3]) ~= ARGV[1] then
  return 0
end
local states = redis.call('HGETALL', KEYS[1])
for i = 1, #states, 2 do
  local pod, raw = states[i], states[i + 1]
  local good, state = pcall(cjson.decode, raw)
  local op_good, record = pcall(cjson.decode, redis.call('HGET', KEYS[2], pod) or '')
  if good and type(state) == 'table' and op_good and type(record) == 'table' then
    local word = type(state.app) == 'string' and state.app or record.appWord
    if not word and state.routingState == record.written then word = 'READY' end  -- a foreign app that said nothing else
    if state.op == true or record.reason == 'Gone' then
      redis.call('HDEL', KEYS[1], pod)
    elseif word and word ~= state.routingState then
      local text, hits = string.gsub(raw, '("routingState"%s*:%s*)"[A-Z_]*"', '%1"' .. word .. '"')
      if hits ~= 1 then
        state.routingState = word
        text = cjson.encode(state)
      end
      redis.call('HSET', KEYS[1], pod, text)
    end
  end
end
redis.call('DEL', KEYS[2], KEYS[3], KEYS[4], KEYS[5])
redis.call('DEL', KEYS[1] .. '#n')
if ARGV[4] == '0' then
  redis.call('DEL', KEYS[6])
else
  redis.call('EXPIRE', KEYS[6], ARGV[4])
end
redis.call(ARGV[2], ARGV[3], 'ev')
return 1
