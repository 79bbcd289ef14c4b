--[[
  Move links of one bucket off a pod: only those that still name it. Each keeps its time to live, its epoch rises.
  A retained link (statefulRemoveLink) moves, too, and nobody owns it afterwards either.

  KEYS[1]      zset    the bucket's index  sf:{tag}ix:ns:svc
  KEYS[2i]     string  the i-th link       sf:{ns:lk:uid}svc
  KEYS[2i+1]   hash    that uid's links    sf:{ns:lk:uid}
  KEYS[2n+2]   hash    the service's counts, after the n links; not on a Redis Cluster  sf:{ns:state:svc}#n
  ARGV[1]      service name
  ARGV[2]      pod index to move off
  ARGV[3]      only entries with a lower epoch (an earlier incarnation's)
  ARGV[4]      how many links a pod may have that others go to, 0 for any number; not on a Redis Cluster (takeRoom)
  ARGV[3+2i]   the i-th uid
  ARGV[4+2i]   the pod index it goes to; the same pod: only the epoch rises

  Returns  {epoch, i, outcome, …}: the new epoch, and what became of each link that was not moved:
           0 drift (the link was absent or elsewhere: the index is mended), -1 the index no longer names the pod
           (somebody else was quicker), -2 the link holds no pod index, -3 the pod it was to go to is full, or nobody
           has counted its links; just {epoch} when all were moved
  Every entry that is passed in has left the pod's range afterwards, or was not in it, but for those of -3. The link is
  the truth: a uid's hash that a foreign client has made a key of another type (hence pcall) keeps no other link from moving.
]]
-- include lib/score.lua
-- include lib/epoch.lua
-- include lib/ordinal.lua
-- include lib/counts.lua
local service, from, before = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local count = math.floor((#KEYS - 1) / 2)
local counts = KEYS[2 * count + 2]
local links, uids = {}, {}
for i = 1, count do
  links[i], uids[i] = KEYS[2 * i], ARGV[3 + 2 * i]
end
uids[count + 1] = ''
local pods = redis.call('MGET', unpack(links))
local scores = redis.call('ZMSCORE', KEYS[1], unpack(uids))
local epoch = next_epoch(scores[count + 1], KEYS[1])

local lowest, limit = from * STEP, from * STEP + before
local most = counts and tonumber(ARGV[4]) or 0
local counted, stands, changes = most > 0 and redis.call('HGET', counts, '#'), {}, {}
local function has_room(pod)
  if most > 0 and not stands[pod] then
    stands[pod] = counted and tonumber(redis.call('HGET', counts, pod) or 0) or most
  end
  return most == 0 or stands[pod] + (changes[tonumber(pod)] or 0) < most
end
local results, entries, gone, texts = {epoch}, {-epoch, ''}, {}, {}
local function enter(pod, uid)
  note(changes, from, tonumber(pod))
  texts[pod] = texts[pod] or string.format('%.0f', pod * STEP + epoch)
  entries[#entries + 1] = texts[pod]
  entries[#entries + 1] = uid
end
for i = 1, count do
  local score = tonumber(scores[i] or -1)
  local outcome
  if score < lowest or score >= limit then
    outcome = -1
  elseif pods[i] == ARGV[2] or ordinal(pods[i]) == from then
    local to = ARGV[4 + 2 * i]
    if to ~= ARGV[2] and not has_room(to) then
      outcome = -3
    elseif to ~= ARGV[2] then
      redis.call('SET', links[i], to, 'KEEPTTL')
      if redis.pcall('HSET', KEYS[2 * i + 1], service, to) == 1 and redis.call('PTTL', links[i]) >= 0 then
        redis.call('HDEL', KEYS[2 * i + 1], service)  -- it was retained, and stays so
      end
    end
    if not outcome then enter(to, uids[i]) end
  else
    local pod = ordinal(pods[i])
    outcome = (pod or not pods[i]) and 0 or -2
    if pod then
      enter(pod, uids[i])
    else
      note(changes, from, -1)
      gone[#gone + 1] = uids[i]
      local field = outcome == 0 and redis.pcall('HGET', KEYS[2 * i + 1], service)
      if type(field) == 'string' and ordinal(field) == from then
        redis.call('HDEL', KEYS[2 * i + 1], service)
      end
    end
  end
  if outcome then
    results[#results + 1] = i
    results[#results + 1] = outcome
  end
end
if #gone > 0 then
  redis.call('ZREM', KEYS[1], unpack(gone))
end
if #entries > 2 then
  redis.call('ZADD', KEYS[1], unpack(entries))
end
keep_counts(counts, KEYS[1], changes)
return results
