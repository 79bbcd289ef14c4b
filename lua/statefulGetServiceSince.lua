--[[
  What has become of a service since a reader has read it, and some of its pods. Reads only.

  KEYS[1]  hash    the service states      sf:{ns:state:svc}
  KEYS[2]  hash    the operator's records  sf:{ns:state:svc}#op
  KEYS[3]  hash    the configuration       sf:{ns:state:svc}#cfg
  KEYS[4]  stream  effective changes       sf:{ns:state:svc}#ev
  KEYS[5]  stream  moves                   sf:{ns:state:svc}#mv
  ARGV[1]  the last change that the reader knows, an id of the stream; '0-0' for none
  ARGV[2]  at most so many changes are answered
  ARGV[2+i]  the i-th pod index that is wanted in any case

  Returns  {ms since the epoch by this server's clock, id of the last change, of the last move, {field, value …} of the
            configuration, {pod, state or '', record or '', …} of what is wanted and of what has changed};
            {} if that cannot be told: the reader's change is not in the stream (it was trimmed, or the store emptied or
            restored), or there are more changes
]]
local found = redis.pcall('XRANGE', KEYS[4], ARGV[1] == '0-0' and '-' or ARGV[1], '+', 'COUNT', ARGV[2] + 2)
if found.err then  -- a key of another type has no changes
  found = {}
end
local first = 1
if ARGV[1] ~= '0-0' then
  if not found[1] or found[1][1] ~= ARGV[1] then return {} end
  first = 2
end
if #found - first + 1 > tonumber(ARGV[2]) then return {} end
local pods, listed = {}, {}
local function list(pod)
  if not listed[pod] then
    listed[pod] = true
    pods[#pods + 1] = pod
  end
end
for i = 3, #ARGV do list(ARGV[i]) end
for i = first, #found do
  for j = 1, #found[i][2], 2 do
    if found[i][2][j] == 'pod' then list(found[i][2][j + 1]) end
  end
end
local entries = {}
if #pods > 0 then
  local states, records = redis.call('HMGET', KEYS[1], unpack(pods)), redis.call('HMGET', KEYS[2], unpack(pods))
  for i, pod in ipairs(pods) do
    entries[3 * i - 2], entries[3 * i - 1], entries[3 * i] = pod, states[i] or '', records[i] or ''
  end
end
local time = redis.call('TIME')
local moves = redis.pcall('XREVRANGE', KEYS[5], '+', '-', 'COUNT', 1)
return {
  time[1] * 1000 + math.floor(time[2] / 1000),
  found[1] and found[#found][1] or ARGV[1],
  moves[1] and moves[1][1] or '0-0',
  redis.call('HGETALL', KEYS[3]),
  entries,
}
