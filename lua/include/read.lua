-- What does a key hold? A value of the wrong type, or a text that is no number, ends the script with an error that
-- names the key. All reads come before the first write, so the error leaves nothing half done.
local function read(command, key, ...)
  local value = redis.pcall(command, key, ...)
  if type(value) == 'table' and value.err then
    error({err = value.err .. ' key=' .. key})
  end
  return value
end

-- The number in a text that was read at `key`. Any other text is damage, and ends the script as a wrong type does.
local function number_at(key, text)
  local number = tonumber(text)
  if not number or number ~= number or number == math.huge or number == -math.huge then
    error({err = 'ERR not a number, but \'' .. tostring(text) .. '\' key=' .. key})
  end
  return number
end
