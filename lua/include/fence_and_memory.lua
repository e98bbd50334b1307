-- Which fence comes next, and is this memory whole? Three functions; the last one answers, the others read for it.
-- Needs KEYS.state; ARGV.intent_id, is_exit, fence_seen, policy, dedup_ttl_ms, max_age_ms, skew_ms

-- A whole number as it was read: false where there was none, nil for damage. Beyond 2^53 a number no longer grows by 1.
local function whole(text)
  if not text then return false end
  local number = string.match(text, '^%d+$') and tonumber(text)
  if number and number < 9007199254740992 then return number end
  return nil
end

-- The deadline of an earlier permit, from its copy in the state; `now` for a copy that can't be read. After it, none of
-- its requests can be on its way any more.
local function deadline_of(copy, now)
  local admitted, span = string.match(copy, '^%l+ %S+ %d+ %S+ (%d+) %S+ %S+ (%d+) ')
  return admitted and admitted + span or now
end

-- What an admission builds on. Returns the next fence, as text; since when this memory is known to be whole; the policy
-- in force; and, where the permit must say verify, for how many ms already an order that nobody remembers may exist.
-- A fence below one that the caller has seen was lost or rolled back: the memory is new from now on.
-- Damage denies an entry. An exit goes by it: without `since`, and with a fence that no counter has reached.
local function fence_and_memory(now, micros, seen)
  local is_exit = ARGV.is_exit == '1'
  local state = seen.state or redis.pcall('HMGET', KEYS.state, 'fence', 'since', 'policy', 'permit:' .. ARGV.intent_id)
  local last, since, in_force, copy = whole(state[1]), whole(state[2]), state[3], state[4]
  if state.err or last == nil or since == nil then
    if is_exit then return integer(now * 1000 + micros), nil, nil, 0 end
    error({err = 'ERR fence or since is not a whole number key=' .. KEYS.state})
  end
  local fence_seen = tonumber(ARGV.fence_seen)
  if not last or not since or last < fence_seen then
    last, since = math.max(last or 0, fence_seen), now
  end
  -- The permit says verify in three cases: an intent can still be fresh whose record was lost with the old memory; an
  -- exit comes with another policy, whose max_age may revive an intent after its record; an earlier permit of this very
  -- intent was never settled, though its record has lapsed.
  local remembers = math.max(ARGV.dedup_ttl_ms, ARGV.max_age_ms + ARGV.skew_ms)
  local whole_for, verify_age = now - since, nil
  if whole_for < remembers or copy or (in_force and in_force ~= ARGV.policy) then
    verify_age = math.max(copy and math.min(whole_for, now - deadline_of(copy, now)) or whole_for, 0)
  end
  return integer(last + 1), since, in_force, verify_age
end
