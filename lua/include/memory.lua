-- Is this memory whole? Redis forgets: by a flush, a restart, a log cut short, an old snapshot, a failover to a replica
-- that lags behind. A part of the guards; question.lua declares what it fills in. Damage denies an entry. An exit passes,
-- with `damaged`.
-- Needs integer; KEYS.state, rate_global; ARGV.server

-- Three whole numbers, or nothing. Lua can't add 1 to numbers above 2^53.
if not state.err and not string.find(state[1] or '0', '%D') and not string.find(state[2] or '0', '%D')
  and not (state[5] and string.find(state[5], '%D')) then
  last_fence, since, lost = tonumber(state[1] or 0), tonumber(state[2] or 0), tonumber(state[5] or 0)
end
if not last_fence or not since or not lost or last_fence >= 9007199254740992 or since >= 9007199254740992 or lost >= 9007199254740992 then
  if not is_exit then error({err = 'ERR fence, since or lost is not a whole number key=' .. KEYS.state}) end
  damaged = true
else
  -- Each connection says which server it speaks to. Another server has what the replication, or the disk, had kept.
  local known_server = state[4]
  run_id = known_server
  if known_server ~= ARGV.server then
    local odd
    run_id, odd = string.match(ARGV.server, '^(%S+) ?(.*)$')
    if not is_exit and (run_id == '?' or string.sub(odd, 1, 6) == 'lacks ') then
      error({err = 'NOPERM the store\'s user ' .. odd .. ': no entry without it; ACL SETUSER grants it'})
    end
    untrusted = odd ~= ''
    if run_id == '?' then run_id = known_server end
  end

  local in_flight = state[6]
  if in_flight and #in_flight == 56 then
    card, live, reserved, counted, earliest, last, lapses = struct.unpack('>ddddddd', in_flight)
  end
  if untrusted then lapses = nil end  -- the list may have been evicted
  if not state[1] or not state[2] then
    new_memory = 'nothing is known of this account'
  elseif known_server ~= run_id then
    new_memory = 'another server answers, or it has restarted'
  elseif lost - now > 60000 then
    new_memory = 'its last loss lies in the future'  -- the clock has gone back, or a hand has written it
  elseif last and (last - now) * 2 > dedup_ttl - max_age and last - now > 1000 then
    -- While the clock was ahead, records may have lapsed whose intents are fresh. docs/decisions/steps-of-the-clock.md
    -- tells why half of that time, a second at least.
    new_memory = 'the server\'s clock has gone back by ' .. integer(last - now) .. ' ms'
  elseif last_fence < fence_seen then
    new_memory = 'the last fence is ' .. integer(last_fence) .. ', and ' .. integer(fence_seen) .. ' was given'
  elseif not global_entry and lapses and lapses - now > 1000 and redis.pcall('EXISTS', KEYS.rate_global) == 0 then
    -- The clocks by which a server lets keys lapse and answers TIME are a few ms apart; a second is more than enough.
    new_memory = 'the list of admissions is gone before its time: the clock was ahead, or the key was deleted'
  end
  if new_memory then
    last_fence, since, lost = math.max(last_fence, fence_seen), now, now
    -- Far above all that others can have seen, so that they don't take the same loss for one more.
    if last_fence > 0 then last_fence = last_fence + 1000000 end
    card, last, lapses = nil, nil, nil  -- what a clock ahead has left is forgotten: one loss is noted once
  end
end
