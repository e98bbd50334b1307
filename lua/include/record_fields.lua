-- Which fields has a record? In the order of record_text; nothing for a text that the gate didn't write (the replaced
-- system left `1` under these keys).
local function record_fields(text)
  return string.match(text, '^(%l+) (%S+) (%d+) (%S+) (%d+) (%S+) (%S+) (%d+) (%d+) (%S+) (.*)$')
end
