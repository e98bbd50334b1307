-- A whole number as it was read: false where there was none, nil for damage (beyond 2^53 a number no longer grows by 1).
local function whole(text)
  if not text then return false end
  local number = string.match(text, '^%d+$') and tonumber(text)
  if number and number < 9007199254740992 then return number end
  return nil
end

-- Since when nothing can be on its way any more of an earlier permit whose copy is in the state: its deadline. 'now' for a
-- copy that can't be read.
local function deadline_of(copy, now)
  local admitted, span = string.match(copy, '^%l+ %S+ %d+ %S+ (%d+) %S+ %S+ (%d+) ')
  return admitted and admitted + span or now
end

-- What an admission builds on: the next fence, as text; since when this memory is known to be whole; the policy in force;
-- and, where the permit must say verify, for how many ms already an order that nobody remembers may be on its way.
-- A fence below one that the caller has seen was lost or rolled back.
-- Damage denies an entry. An exit goes by: without `since`, with a fence that no counter has reached.
local function fence_and_memory(now, micros, seen)
  local is_exit = ARGV[7] == '1'
  local state = seen.state or redis.pcall('HMGET', KEYS[8], 'fence', 'since', 'policy', 'permit:' .. ARGV[1])
  local last, since, in_force, copy = whole(state[1]), whole(state[2]), state[3], state[4]
  if state.err or last == nil or since == nil then
    if is_exit then return integer(now * 1000 + micros), nil, nil, 0 end
    error({err = 'ERR fence or since is not a whole number key=' .. KEYS[8]})
  end
  local fence_seen = tonumber(ARGV[9])
  if not last or not since or last < fence_seen then
    last, since = math.max(last or 0, fence_seen), now
  end
  -- Verify as long as an intent can be fresh whose record was lost; where an exit, which needs no agreement, comes with
  -- another policy: its max_age may revive an intent whose record has lapsed; and where an earlier permit of this very
  -- intent was never settled, though its record has lapsed.
  local remembers = math.max(ARGV[16], ARGV[17] + ARGV[18])
  local whole_for, verify_age = now - since, nil
  if whole_for < remembers or copy or (in_force and in_force ~= ARGV[10]) then
    verify_age = math.max(copy and math.min(whole_for, now - deadline_of(copy, now)) or whole_for, 0)
  end
  return integer(last + 1), since, in_force, verify_age
end
