-- Why is a switch (safe mode, a cooldown) on? Nil when it is off. '0' means off: operators set it by hand. A switch that
-- a trip has set holds '1', and its reason is in the hash beside it; where that is damaged, or of another trip, '1' is all
-- that is known.
-- Needs read; KEYS.reasons
local function switched_on(key)
  -- A person may have written any text, of any length.
  local value = read('GETRANGE', key, '0', '999')
  if value == '0' or value == '' and redis.call('EXISTS', key) == 0 then return nil end
  if value ~= '1' then return value end
  local said = redis.pcall('HGET', KEYS.reasons, string.match(key, '.*:safety:(.*)$'))
  local until_text, why = string.match(type(said) == 'string' and said or '', '^(%d+) (.*)$')
  if until_text and until_text == string.format('%.0f', redis.call('PEXPIRETIME', key)) then return why end
  return value
end
