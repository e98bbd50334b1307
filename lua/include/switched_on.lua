-- What a switch (safe mode, a cooldown) says when it is on, else nil. '0' counts as off: operators set it by hand.
local function switched_on(key)
  local why = read('GET', key)
  if why and why ~= '0' then return why end
  return nil
end
