-- Is this memory whole? Redis forgets: by a flush, a restart, a log cut short, an old snapshot, a failover to a replica
-- that lags behind. The first function answers. The others are its parts, or need its answer.
-- Needs KEYS.state, halt, audit; ARGV.is_exit, fence_seen, policy, rate_symbol_window_ms,
--       rate_global_window_ms, lock_ttl_ms, dedup_ttl_ms, max_age_ms, skew_ms, after_memory_loss, server

-- Reads a whole number: false when there is no text, nil when it is damaged. Lua can't add 1 to numbers above 2^53.
local function whole(text)
  if not text then return false end
  local number = string.match(text, '^%d+$') and tonumber(text)
  if number and number < 9007199254740992 then return number end
  return nil
end

-- Fills `seen`: .fence (the last one given), .since (when the memory became whole), .lost (when its loss was noticed),
-- .new (why it is new from this call on), .untrusted (never whole: the store may evict keys, or the user lacks rights),
-- and .run_id. Damage denies an entry. An exit passes, with .damaged.
local function memory(now, seen)
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
  if not last or not since then
    seen.new = 'nothing is known of this account'
  elseif known_server ~= run_id then
    seen.new = 'another server answers, or it has restarted'
  elseif last < fence_seen then
    seen.new = 'the last fence is ' .. integer(last) .. ', and ' .. ARGV.fence_seen .. ' was given'
  end
  if seen.new then last, since, lost = math.max(last or 0, fence_seen), now, now end
  seen.fence, seen.since, seen.lost, seen.run_id = last, since, lost, run_id
end

-- How long do entries wait, in ms? Nil for no wait. Until a permit of the lost memory can be alive no more, and until
-- the windows, which are lost too, are empty. The exchange accepts an order for up to 6.5 s after it is signed (its
-- recvWindow of 5 s, 1 s for a clock ahead, and 0.5 s to spare). Of a window, five minutes count at most.
local function memory_wait(now, seen)
  if not seen.lost then return nil end
  local windows = math.max(ARGV.rate_symbol_window_ms, ARGV.rate_global_window_ms)
  local wait = seen.lost + math.max(ARGV.lock_ttl_ms + 6500, math.min(windows, 300000)) - now
  if wait > 0 then return wait end
  return nil
end

-- Notes that the memory is new. A policy may want a person to look first: then it halts. The halt goes before the note,
-- so that a loss isn't taken as noted without it.
local function note_new_memory(now_text, seen, attempt)
  local halted = attempt('EXISTS', KEYS.halt) == 1
  if ARGV.after_memory_loss == 'halt' and not halted then
    attempt('HSET', KEYS.halt, 'scope', 'entries', 'by', 'gate', 'reason', 'memory lost: ' .. seen.new, 'at', now_text)
  end
  attempt('HSET', KEYS.state, 'fence', integer(seen.fence), 'since', now_text, 'lost', now_text,
    'run_id', seen.run_id or '')
  audit(KEYS.audit, now_text, 'memory lost', 'gate',
    seen.new .. '; halts, switches, windows and records of before may be lost')
end

-- The deadline of an earlier permit, from its copy in the state; `now` when the copy can't be read. The permit's holder
-- sends no request after it.
local function deadline_of(copy, now)
  local admitted, span = string.match(copy, '^%l+ %S+ %d+ %S+ (%d+) %S+ %S+ (%d+) ')
  return admitted and admitted + span or now
end

-- Which fence comes next? As text. And, when the permit must say verify, the least age in ms of an order that the
-- memory may have lost. On a damaged state, an exit gets a fence from the clock, higher than any counter's.
local function fence_and_verify_age(now, micros, seen)
  memory(now, seen)
  if seen.damaged then return integer(now * 1000 + micros), 0 end
  -- The permit says verify in four cases. First: the memory is so new that a lost record's intent may still be fresh.
  -- Second: an exit comes with another policy, whose longer max_age may make an intent fresh after its record lapsed.
  -- Third: the record of an earlier permit of this intent lapsed before the permit was settled.
  -- Fourth: the store may lose records one by one.
  local in_force, copy = seen.state[3], seen.state[4]
  local remembers = math.max(ARGV.dedup_ttl_ms, ARGV.max_age_ms + ARGV.skew_ms)
  local whole_for, verify_age = now - seen.since, nil
  if whole_for < remembers or copy or seen.untrusted or (in_force and in_force ~= ARGV.policy) then
    verify_age = math.max(copy and math.min(whole_for, now - deadline_of(copy, now)) or whole_for, 0)
  end
  return integer(seen.fence + 1), verify_age
end
