--[[
  Become (or stay) the owner of a service and write what its callers need of the configuration.

  KEYS[1]  string  the owner          sf:{ns:state:svc}#own
  KEYS[2]  hash    the configuration  sf:{ns:state:svc}#cfg
  KEYS[3]  stream  moves              sf:{ns:state:svc}#mv
  ARGV[1]  the owner to be            <cluster id>/<StatefulRoute uid>
  ARGV[2]  an owner whose id starts with this may be taken over: the caller knows that it has none; '' for nobody's
  ARGV[3…] field, value, field, value …

  Returns  {1 if it owns the service now else 0, the owner before or ''}; nothing is written for 0
  The stream of moves is there from now on, empty: a Redis Cluster refuses scripts with a declared key that is not there
  while the slot moves; and it stops one that touches a key again which it has deleted, so the configuration never goes.
]]
local owner = redis.call('GET', KEYS[1]) or ''
if owner ~= '' and owner ~= ARGV[1] then
  if ARGV[2] == '' or string.sub(owner, 1, #ARGV[2]) ~= ARGV[2] then
    return {0, owner}
  end
end
if owner ~= ARGV[1] then
  redis.call('SET', KEYS[1], ARGV[1])
end
local stale = {}
for _, field in ipairs(redis.call('HKEYS', KEYS[2])) do stale[field] = true end
redis.call('HSET', KEYS[2], unpack(ARGV, 3))
for i = 3, #ARGV, 2 do stale[ARGV[i]] = nil end
for field in pairs(stale) do redis.call('HDEL', KEYS[2], field) end
if redis.call('EXISTS', KEYS[3]) == 0 then
  redis.call('XADD', KEYS[3], 'MAXLEN', 0, '*', 'from', '')
elseif redis.call('PTTL', KEYS[3]) >= 0 then
  redis.call('PERSIST', KEYS[3])  -- the service was given up a moment ago
end
return {1, owner}
