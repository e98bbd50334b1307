-- Is this memory whole? Redis forgets: by a flush, a restart, a log cut short, an old snapshot, a failover to a replica
-- that lags behind. `memory` answers; `whole` is a part of it.
-- Needs last_admission; KEYS.state, rate_global;
--    ARGV.is_exit, decided_ms, fence_seen, policy, server

-- Reads a whole number: false when there is no text, nil when it is damaged. Lua can't add 1 to numbers above 2^53.
local function whole(text)
  if not text then return false end
  local number = string.match(text, '^%d+$') and tonumber(text)
  if number and number < 9007199254740992 then return number end
  return nil
end

-- Fills `seen`: .fence (the last one given), .since (when the memory became whole), .lost (when its loss was noticed),
-- .new (why it is new from this call on), .last and .lapses (see in_flight_packed), .untrusted (never whole: the store
-- may evict keys, or the user lacks rights), and .run_id. Damage denies an entry. An exit passes, with .damaged.
local function memory(now, seen, dedup_ttl, max_age)
  if seen.since or seen.damaged then return end
  local state, is_exit = seen.state, ARGV.is_exit == '1'
  local last, since, lost = whole(state[1]), whole(state[2]), whole(state[6])
  if state.err or last == nil or since == nil or lost == nil then
    if not is_exit then error({err = 'ERR fence, since or lost is not a whole number key=' .. KEYS.state}) end
    seen.damaged = true
    return
  end

  -- Each connection says which server it speaks to. Another server has what the replication, or the disk, had kept.
  local known_server, run_id = state[5], state[5]
  if known_server ~= ARGV.server then
    local odd
    run_id, odd = string.match(ARGV.server, '^(%S+) ?(.*)$')
    if not is_exit and (run_id == '?' or string.sub(odd, 1, 6) == 'lacks ') then
      error({err = 'NOPERM the store\'s user ' .. odd .. ': no entry without it; ACL SETUSER grants it'})
    end
    seen.untrusted = odd ~= ''
    if run_id == '?' then run_id = known_server end
  end

  local fence_seen = tonumber(ARGV.fence_seen)
  local last_at, lapses = last_admission(state[7])
  if seen.untrusted then lapses = nil end  -- the list may have been evicted
  if not last or not since then
    seen.new = 'nothing is known of this account'
  elseif known_server ~= run_id then
    seen.new = 'another server answers, or it has restarted'
  elseif lost and lost - now > 60000 then
    seen.new = 'its last loss lies in the future'  -- the clock has gone back, or a hand has written it
  elseif last_at and (last_at - now) * 2 > math.max(dedup_ttl - max_age, 2000) then
    -- While the clock was ahead, records may have lapsed whose intents are fresh. docs/decisions/steps-of-the-clock.md
    -- tells why half of that time, a second at least.
    seen.new = 'the server\'s clock has gone back by ' .. integer(last_at - now) .. ' ms'
  elseif last < fence_seen then
    seen.new = 'the last fence is ' .. integer(last) .. ', and ' .. ARGV.fence_seen .. ' was given'
  elseif lapses and lapses - now > 1000 and redis.pcall('EXISTS', KEYS.rate_global) == 0 then
    -- The clocks by which a server lets keys lapse and answers TIME are a few ms apart; a second is more than enough.
    seen.new = 'the list of admissions is gone before its time: the clock was ahead, or the key was deleted'
  end
  if seen.new then
    last, since, lost = math.max(last or 0, fence_seen), now, now
    -- Far above all that others can have seen, so that they don't take the same loss for one more.
    if last > 0 then last = last + 1000000 end
    last_at, lapses, state[7] = nil, nil, false  -- what a clock ahead has left is forgotten: one loss is noted once
  end
  seen.last, seen.lapses = last_at, lapses
  seen.fence, seen.since, seen.lost, seen.run_id = last, since, lost, run_id
end

-- Which fence comes next? As text. And, when the permit must say verify, the least age in ms of an order that the
-- memory may have lost. On a damaged state, an exit gets a fence from the clock, higher than any counter's.
local function fence_and_verify_age(now, micros, seen, dedup_ttl, max_age, skew)
  if seen.damaged then return integer(now * 1000 + micros), 0 end
  -- The permit says verify in four cases. First: the memory is so new that a lost record's intent may still be fresh.
  -- Second: an exit comes with another policy, whose longer max_age may make an intent fresh after its record lapsed.
  -- Third: the record of an earlier permit of this intent lapsed before the permit was settled.
  -- Fourth: the store may lose records one by one. Fifth: an exit is dated ahead, and fresh for longer than the memory
  -- is young.
  local in_force, copy = seen.state[3], seen.state[4]
  local remembers = math.max(dedup_ttl, max_age + skew)
  local whole_for, verify_age = now - seen.since, nil
  if whole_for < remembers or copy or seen.untrusted or (in_force and in_force ~= ARGV.policy)
    or ARGV.decided_ms - skew - now > 0 then
    verify_age = whole_for
    if copy then
      -- The earlier permit's holder sends no request after its deadline; where that can't be read, the age is 0.
      local admitted, span = string.match(copy, '^%l+ %S+ %d+ %S+ (%d+) %S+ %S+ (%d+) ')
      verify_age = admitted and math.min(whole_for, now - admitted - span) or 0
    end
    verify_age = math.max(verify_age, 0)
  end
  return integer(seen.fence + 1), verify_age
end
