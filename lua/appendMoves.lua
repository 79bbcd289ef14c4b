--[[
  Tell callers and pods which links have moved, or that all were purged.

  KEYS[1]  stream  the service's moves              sf:{ns:state:svc}#mv
  KEYS[2]  string  the owner, if the caller is one  sf:{ns:state:svc}#own
  ARGV[1]  PUBLISH, or SPUBLISH on a Redis Cluster
  ARGV[2]  the service's channel, where callers are woken  sf:{ns:state:svc}#ch
  ARGV[3]  how many bytes the stream keeps; entries of a version that does not count them go by their age alone
  ARGV[4]  how old an entry may be, in ms
  ARGV[5]  pod index the links were on; -1 for a purge
  ARGV[6]  reason
  ARGV[7]  the moves, JSON: [ [uid, to, epoch], … ]
  ARGV[8]  the caller, as in #own; '' for a caller that owns nothing
  ARGV[9]  the pods they are on now, 3,17; -1 among them: some were given up, and are on none; 'purged' for a purge
  ARGV[10]  '', or for a purge an epoch that no purged link was above

  Returns  the entry's id
  Error    OWNED <owner> when the caller has lost the service: it must move no more (these moves are told all the same)
  The oldest entries go that are too old, or too much; never this one. Each entry names the one before it, so that a
  reader knows whether it has missed any, and the sum of bytes so far.
]]
-- include lib/score.lua
-- include lib/epoch.lua
local OVERHEAD = 200  -- bytes of an entry beside its moves
local DROPPED_AT_ONCE = 16

local function parts(entry)
  local fields = {}
  for i = 1, #entry[2], 2 do
    fields[entry[2][i]] = entry[2][i + 1]
  end
  return entry[1], tonumber(fields.sum), tonumber(string.match(entry[1], '^%d+'))
end

local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
local before, sum = '0-0', nil
if last then
  before, sum = parts(last)
end
sum = (sum or 0) + #ARGV[7] + OVERHEAD
local oldest, keep = clock() - ARGV[4], nil
for _ = 1, last and DROPPED_AT_ONCE or 0 do
  local entry = redis.call('XRANGE', KEYS[1], keep or '-', '+', 'COUNT', 2)
  local id, so_far, at = parts(entry[1])
  if at >= oldest and sum - (so_far or sum) <= tonumber(ARGV[3]) then
    break
  end
  keep = entry[2] and entry[2][1] or '+'
  if keep == '+' then break end
end
local words = {'*', 'from', ARGV[5], 'reason', ARGV[6], 'moves', ARGV[7], 'prev', before, 'sum', string.format('%.0f', sum)}
if ARGV[10] ~= '' then
  words[#words + 1] = 'purged'
  words[#words + 1] = ARGV[10]
end
local id
if not keep then
  id = redis.call('XADD', KEYS[1], unpack(words))
elseif keep ~= '+' then
  id = redis.call('XADD', KEYS[1], 'MINID', keep, unpack(words))
else
  id = redis.call('XADD', KEYS[1], 'MAXLEN', 1, unpack(words))
end
local from = ARGV[10] == '' and ARGV[5] or '-'
redis.call(ARGV[1], ARGV[2], table.concat({'mv', before, id, from, ARGV[9]}, ' '))
local owner = KEYS[2] and redis.call('GET', KEYS[2]) or ''
if owner ~= ARGV[8] then
  return redis.error_reply('OWNED ' .. owner)
end
return id
