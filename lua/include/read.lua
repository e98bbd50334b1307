-- What does a key hold? Ends the script with an error that names the key where it holds the wrong type, or no number.
-- All reads come before the first write, so that such an error leaves nothing half done.
local function read(command, key, ...)
  local value = redis.pcall(command, key, ...)
  if type(value) == 'table' and value.err then
    error({err = value.err .. ' key=' .. key})
  end
  return value
end

-- The number that was read at `key`. Anything else there is damage, and ends the script like a wrong type.
local function number_at(key, text)
  local number = tonumber(text)
  if not number or number ~= number or number == math.huge or number == -math.huge then
    error({err = 'ERR not a number, but \'' .. tostring(text) .. '\' key=' .. key})
  end
  return number
end
