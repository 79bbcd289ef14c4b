--[[
  Hand a service to another owner, or to whoever claims it next; a person's decision, not an operator's.

  KEYS[1]  string  the owner  sf:{ns:state:svc}#own
  ARGV[1]  the owner as the person has seen it; '' for nobody
  ARGV[2]  the owner to be, <cluster id>/<StatefulRoute uid>; '' for whoever claims it next

  Returns  {1, owner before}; {0, owner} when it is not the one that was seen: nothing is written then
]]
local owner = redis.call('GET', KEYS[1]) or ''
if owner ~= ARGV[1] then
  return {0, owner}
end
if ARGV[2] == '' then
  redis.call('DEL', KEYS[1])
else
  redis.call('SET', KEYS[1], ARGV[2])
end
return {1, owner}
