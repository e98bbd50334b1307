-- Which fence comes next, and is this memory whole? The last function answers; the two before it are its parts.
-- Needs KEYS.state; ARGV.intent_id, is_exit, fence_seen, policy, dedup_ttl_ms, max_age_ms, skew_ms

-- Reads a whole number: false when there is no text, nil when it is damaged. Lua can't add 1 to numbers above 2^53.
local function whole(text)
  if not text then return false end
  local number = string.match(text, '^%d+$') and tonumber(text)
  if number and number < 9007199254740992 then return number end
  return nil
end

-- The deadline of an earlier permit, from its copy in the state; `now` when the copy can't be read. The permit's holder
-- sends no request after it.
local function deadline_of(copy, now)
  local admitted, span = string.match(copy, '^%l+ %S+ %d+ %S+ (%d+) %S+ %S+ (%d+) ')
  return admitted and admitted + span or now
end

-- Returns the next fence, as text; the time since which this memory is known to be whole; the policy in force; and,
-- when the permit must say verify, the least age in ms of an order that the memory may have lost.
-- A fence below one that the caller has seen shows that the server lost data or rolled back. Then the memory is new.
-- Damage denies an entry. An exit passes: it gets no `since`, and a fence from the clock, higher than any counter's.
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
  -- The permit says verify in three cases. First: the memory is so new that a lost record's intent may still be fresh.
  -- Second: an exit comes with another policy, whose longer max_age may make an intent fresh after its record lapsed.
  -- Third: the record of an earlier permit of this intent lapsed before the permit was settled.
  local remembers = math.max(ARGV.dedup_ttl_ms, ARGV.max_age_ms + ARGV.skew_ms)
  local whole_for, verify_age = now - since, nil
  if whole_for < remembers or copy or (in_force and in_force ~= ARGV.policy) then
    verify_age = math.max(copy and math.min(whole_for, now - deadline_of(copy, now)) or whole_for, 0)
  end
  return integer(last + 1), since, in_force, verify_age
end
