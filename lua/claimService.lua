--[[
  Become (or stay) the owner of a service and write what its callers need of the configuration.

  KEYS[1]  string  the owner          sf:{ns:state:svc}#own
  KEYS[2]  hash    the configuration  sf:{ns:state:svc}#cfg
  ARGV[1]  the owner to be            <cluster id>/<StatefulRoute uid>
  ARGV[2]  an owner whose id starts with this may be taken over: the caller knows that it has none; '' for nobody's
  ARGV[3…] field, value, field, value …

  Returns  {1 if it owns the service now else 0, the owner before or ''}; nothing is written for 0
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
redis.call('DEL', KEYS[2])
redis.call('HSET', KEYS[2], unpack(ARGV, 3))
return {1, owner}
