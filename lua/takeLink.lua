--[[
  A pod takes a uid, or makes sure of one that it has: an epoch that is given here is given to nobody else.

  KEYS[1]  string  the link            sf:{ns:lk:uid}svc
  KEYS[2]  hash    the uid's links     sf:{ns:lk:uid}
  KEYS[3]  zset    the bucket's index  sf:{tag}ix:ns:svc
  KEYS[4]  hash    the service's counts, not on a Redis Cluster  sf:{ns:state:svc}#n
  ARGV[1]  uid
  ARGV[2]  service name
  ARGV[3]  pod index
  ARGV[4]  epoch since when the caller has the uid, -1 for not at all; a new one is above it
  ARGV[5]  which link it may take: 'any', also another pod's; 'unowned', none that another pod has for good; 'named', one
           that names the pod; 'same', one that names the pod since just that epoch, which gets a new one
  ARGV[6]  1: the link has no time to live afterwards, 0: it keeps the one it has

  Returns  {outcome, pod, epoch, pod it named before or -1}
           1  taken: the pod and its epoch, the same one if the caller has it already
           2  the link names the pod for good, since another epoch: its owner is this pod or one of the same index, who
              decides that must ask the pod's state and call with 'same'; nothing was changed
           0  not taken: the pod that the link names, or -1, and its epoch, -1 where there is none; nothing was changed
  A value that is no pod index is nobody's, as in statefulTrySetLink. Nobody owns a retained link: see statefulRemoveLink.
]]
-- include lib/score.lua
-- include lib/epoch.lua
-- include lib/ordinal.lua
-- include lib/counts.lua
local pod, held, which = tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5]
local current = redis.call('GET', KEYS[1])
local named = ordinal(current) or -1
local lives = redis.call('PTTL', KEYS[1])
local retained = lives >= 0 and not redis.call('HGET', KEYS[2], ARGV[2])
local score = tonumber(redis.call('ZSCORE', KEYS[3], ARGV[1]) or -1)
local indexed = math.floor(score / STEP)
local epoch = named >= 0 and indexed == named and score - indexed * STEP or -1

local same = named == pod and not retained and epoch == held
if which == 'same' then
  if not same then
    return {named == pod and not retained and 2 or 0, named, epoch, named}
  end
elseif named ~= pod then
  if which == 'named' or which == 'unowned' and named >= 0 and lives == -1 then
    return {0, named, epoch, named}
  end
elseif lives == -1 and not same then
  return {2, pod, epoch, pod}
end

if not same or held < 0 or which == 'same' then
  epoch = math.max(next_epoch(redis.call('ZSCORE', KEYS[3], ''), KEYS[3]), held + 1)  -- a store that was emptied forgets
  redis.call('HSET', KEYS[2], ARGV[2], ARGV[3])  -- first: its key may not have been read, and be of another type
  redis.call('ZADD', KEYS[3], pod * STEP + epoch, ARGV[1], -epoch, '')
end
if named ~= pod or ARGV[6] == '1' and lives ~= -1 then
  redis.call('SET', KEYS[1], ARGV[3])
end
recount(KEYS[4], KEYS[3], indexed, pod)
return {1, pod, epoch, named}
