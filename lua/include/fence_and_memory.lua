-- A whole number as it was read: false where there was none, nil for damage (beyond 2^53 a number no longer grows by 1).
local function whole(text)
  if not text then return false end
  local number = string.match(text, '^%d+$') and tonumber(text)
  if number and number < 9007199254740992 then return number end
  return nil
end

-- What an admission builds on: the next fence, as text; since when this memory is known to be whole; the policy in force;
-- and whether the permit must say verify. A fence below one that the caller has seen was lost or rolled back.
-- Damage denies an entry. An exit goes by: without `since`, with a fence that no counter has reached.
local function fence_and_memory(now, micros, seen)
  local is_exit = ARGV[7] == '1'
  local state = seen.state or redis.pcall('HMGET', KEYS[8], 'fence', 'since', 'policy')
  local last, since, in_force = whole(state[1]), whole(state[2]), state[3]
  if state.err or last == nil or since == nil then
    if is_exit then return integer(now * 1000 + micros), nil, nil, true end
    error({err = 'ERR fence or since is not a whole number key=' .. KEYS[8]})
  end
  local fence_seen = tonumber(ARGV[9])
  if not last or not since or last < fence_seen then
    last, since = math.max(last or 0, fence_seen), now
  end
  -- Verify as long as an intent can be fresh whose record was lost; and where an exit, which needs no agreement, comes
  -- with another policy: its max_age may revive an intent whose record has lapsed.
  local remembers = math.max(ARGV[16], ARGV[17] + ARGV[18])
  local verify = now - since < remembers or (in_force and in_force ~= ARGV[10])
  return integer(last + 1), since, in_force, verify
end
