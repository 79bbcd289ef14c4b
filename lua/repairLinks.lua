--[[
  Make the index of one bucket agree with its links: the links are the truth, foreign clients write them without us.

  KEYS[1]      zset    the bucket's index  sf:{tag}ix:ns:svc
  KEYS[2i]     string  the i-th link       sf:{ns:lk:uid}svc
  KEYS[2i+1]   hash    that uid's links    sf:{ns:lk:uid}
  KEYS[2n+2]   hash    the service's counts, after the n links; not on a Redis Cluster  sf:{ns:state:svc}#n
  ARGV[1]      service name
  ARGV[1+i]    the i-th uid

  Returns  {expired, moved, found, foreign, soonest}: entries without a link that were dropped, entries that named another
           pod, links that were not in the index, links that hold no pod index (left untouched, and out of the index), ms
           until the first of the links expires or -1
]]
-- include lib/score.lua
-- include lib/epoch.lua
-- include lib/ordinal.lua
-- include lib/counts.lua
local count = math.floor((#KEYS - 1) / 2)
local counts = KEYS[2 * count + 2]
local links, uids = {}, {}
for i = 1, count do
  links[i], uids[i] = KEYS[2 * i], ARGV[1 + i]
end
uids[count + 1] = ''
local pods = redis.call('MGET', unpack(links))
local scores = redis.call('ZMSCORE', KEYS[1], unpack(uids))
local epoch = next_epoch(scores[count + 1], KEYS[1])

local expired, moved, found, foreign, soonest = 0, 0, 0, 0, -1
local entries, gone, changes = {-epoch, ''}, {}, {}
for i = 1, count do
  local score = scores[i] and tonumber(scores[i])
  local pod = ordinal(pods[i])
  if pod then
    local lives = redis.call('PTTL', links[i])
    if lives >= 0 and (soonest < 0 or lives < soonest) then soonest = lives end
    if not score or math.floor(score / STEP) ~= pod then
      entries[#entries + 1] = string.format('%.0f', pod * STEP + epoch)
      entries[#entries + 1] = uids[i]
      note(changes, score and math.floor(score / STEP) or -1, pod)
      if score then moved = moved + 1 else found = found + 1 end
    end
  else
    if score then
      gone[#gone + 1] = uids[i]
      note(changes, math.floor(score / STEP), -1)
    end
    if pods[i] then
      foreign = foreign + 1
    else
      redis.pcall('HDEL', KEYS[2 * i + 1], ARGV[1])  -- may be a foreign key of another type
      if score then expired = expired + 1 end
    end
  end
end
if #entries > 2 then
  redis.call('ZADD', KEYS[1], unpack(entries))
end
if #gone > 0 then
  redis.call('ZREM', KEYS[1], unpack(gone))  -- last: a Cluster whose slot moves lets no script touch a key that has gone
end
keep_counts(counts, KEYS[1], changes, soonest)
return {expired, moved, found, foreign, soonest}
