-- The pod index that a link's text holds, 0 to 8191, with or without leading zeros; nil for false and any other text.
local function ordinal(text)
  local pod = text and string.match(text, '^%d+$') and tonumber(text)
  return pod and pod <= 8191 and pod or nil
end
