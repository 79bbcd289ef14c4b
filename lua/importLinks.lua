--[[
  Write links of one bucket out of an archive: only where there are none, or over those that stand.

  KEYS[1]      zset    the bucket's index  sf:{tag}ix:ns:svc
  KEYS[2i]     string  the i-th link       sf:{ns:lk:uid}svc
  KEYS[2i+1]   hash    that uid's links    sf:{ns:lk:uid}
  KEYS[2n+2]   hash    the service's counts, after the n links; not on a Redis Cluster  sf:{ns:state:svc}#n
  ARGV[1]      service name
  ARGV[2]      1: over what stands, 0: only where there is no link
  ARGV[4i-1]   the i-th uid
  ARGV[4i]     pod index
  ARGV[4i+1]   when it expires, ms since the epoch; -1: never
  ARGV[4i+2]   the epoch that it had when it was archived; -1: none

  Returns  {written, kept, expired}: links written (of one that stands with the same pod just the time to live is set),
           links that stand and were left as they are, links that have expired since
  One that stands with the same pod and is retained (statefulRemoveLink) stays retained.
  A link that changes its owner gets an epoch above its bucket's highest, the time, and those in the archive.
]]
-- include lib/score.lua
-- include lib/epoch.lua
-- include lib/ordinal.lua
-- include lib/counts.lua
local service, over = ARGV[1], ARGV[2] == '1'
local count = math.floor((#KEYS - 1) / 2)
local counts = KEYS[2 * count + 2]
local links, uids = {}, {}
for i = 1, count do
  links[i], uids[i] = KEYS[2 * i], ARGV[4 * i - 1]
end
uids[count + 1] = ''
local present = redis.call('MGET', unpack(links))
local scores = redis.call('ZMSCORE', KEYS[1], unpack(uids))
local now = clock()
local epoch = next_epoch(scores[count + 1], KEYS[1], now)
for i = 1, count do
  epoch = math.max(epoch, ARGV[4 * i + 2] + 1)
end

local written, expired, kept, soonest = 0, 0, 0, -1
local entries, changes = {string.format('%.0f', -epoch), ''}, {}
for i = 1, count do
  local pod, expires = ARGV[4 * i], tonumber(ARGV[4 * i + 1])
  if expires >= 0 and expires <= now then
    expired = expired + 1
  elseif not over and redis.call('EXISTS', links[i]) == 1 then
    kept = kept + 1
  else
    local before = ordinal(present[i])
    local retained = expires >= 0 and before == tonumber(pod) and redis.call('PTTL', links[i]) >= 0
    if expires < 0 then
      redis.call('SET', links[i], pod)
    else
      redis.call('SET', links[i], pod, 'PXAT', ARGV[4 * i + 1])
    end
    if expires >= 0 and (soonest < 0 or expires - now < soonest) then soonest = expires - now end
    local score = tonumber(scores[i] or -1)
    if redis.pcall('HSET', KEYS[2 * i + 1], service, pod) == 1 and retained then
      redis.call('HDEL', KEYS[2 * i + 1], service)
    end  -- (pcall: it may be a foreign key of another type)
    if before ~= tonumber(pod) or math.floor(score / STEP) ~= before then
      entries[#entries + 1] = string.format('%.0f', pod * STEP + epoch)
      entries[#entries + 1] = uids[i]
      note(changes, math.floor(score / STEP), tonumber(pod))
    end
    written = written + 1
  end
end
if #entries > 2 then
  redis.call('ZADD', KEYS[1], unpack(entries))
end
keep_counts(counts, KEYS[1], changes, soonest)
return {written, kept, expired}
