-- Why is a switch (safe mode, a cooldown) on? Nil when it is off. '0' means off: operators set it by hand.
local function switched_on(key)
  local why = read('GET', key)
  if why and why ~= '0' then return why end
  return nil
end
