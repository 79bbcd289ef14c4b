--[[
  Begin to count the links of a service anew, unless somebody else is at it.

  KEYS[1]  hash  the service's counts  sf:{ns:state:svc}#n
  ARGV[1]  who counts, a word that nobody else has
  ARGV[2]  ms for which that is believed, if nothing is heard of it; 0: who counts gives it up, and others may begin
  ARGV[3]  1: as if all indexes had been counted already, and had no entry (see count_none)

  Returns  1, or 0 when somebody else counts: nothing was changed then
]]
-- include lib/score.lua
-- include lib/epoch.lua
local fields = redis.call('HGETALL', KEYS[1])
local now, gives_up = clock(), ARGV[2] == '0'
for i = 1, #fields, 2 do
  local till, holder = string.match(fields[i + 1], '^(%d+) (.*)$')
  if fields[i] == '~' and holder ~= ARGV[1] and (gives_up or tonumber(till) > now) then
    return 0
  end
end
for i = 1, #fields, 2 do
  if string.sub(fields[i], 1, 1) == '=' then redis.call('HDEL', KEYS[1], fields[i]) end
end
if gives_up then
  redis.call('HDEL', KEYS[1], '~')
  return 0
end
local far = string.format('%.0f', now + 2^40)
redis.call('HSET', KEYS[1], '~', string.format('%.0f %s', now + ARGV[2], ARGV[1]), '=', ARGV[3] == '1' and 2^24 or 0, '=#', far)
return 1
