--[[
  Which commands the scripts of this server cannot call. Writes nothing: each command is called without its arguments, and
  a server looks for the command before it counts them.

  KEYS[1]  hash  what is true of the whole store, for the way to a server alone: it is not touched  sf:meta
  ARGV[i]  the name of the i-th command

  Returns  {name, …} of the commands that the server does not know, or does not let scripts call; empty for none
]]
local missing = {}
for _, name in ipairs(ARGV) do
  local reply = redis.pcall(name)
  local refusal = type(reply) == 'table' and type(reply.err) == 'string' and string.lower(reply.err) or ''
  if string.find(refusal, 'unknown', 1, true) or string.find(refusal, 'not allowed', 1, true) then
    missing[#missing + 1] = name
  end
end
return missing
