--[[
  Stamp the entries that the operator keeps for pods which publish nothing: foreign readers expire those that are old.

  KEYS[1]  hash    the service states  sf:{ns:state:svc}
  KEYS[2]  string  the owner           sf:{ns:state:svc}#own
  ARGV[1]  the caller, as in #own
  ARGV[1+i]  the i-th pod index

  Returns  how many there were; an app's or a foreign client's entry is left as it is
  Error    OWNED <owner> when the service is somebody else's or nobody's
]]
local owner = redis.call('GET', KEYS[2]) or ''
if owner ~= ARGV[1] then
  return redis.error_reply('OWNED ' .. owner)
end
local states = redis.call('HMGET', KEYS[1], unpack(ARGV, 2))
local time = redis.call('TIME')
local stamp = string.format('"updateTime":%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
local fields = {}
for i, raw in ipairs(states) do
  if raw and string.find(raw, '"op":true', 1, true) then
    fields[#fields + 1] = ARGV[1 + i]
    fields[#fields + 1] = (string.gsub(raw, '"updateTime":%d+', stamp))
  end
end
if #fields > 0 then
  redis.call('HSET', KEYS[1], unpack(fields))
end
return #fields / 2
