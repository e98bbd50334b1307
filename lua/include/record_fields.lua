-- Which fields has a record? Returns them in the order of record_text; nothing for a text that the gate didn't write
-- (the replaced system wrote `1` to these keys).
local function record_fields(text)
  return string.match(text, '^(%l+) (%S+) (%d+) (%S+) (%d+) (%S+) (%S+) (%d+) (%d+) (%S+) (.*)$')
end
