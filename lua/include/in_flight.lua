-- How many permits are live, and how much margin do they reserve? The state keeps both, so that a verdict costs the same
-- whether one permit is live or ten thousand. The set itself is walked only over permits whose deadline has passed since
-- the last count, once for each, or wholly where the state doesn't fit the set.
-- Needs KEYS.inflight; ARGV.reserve

local NEVER = 9007199254740991

-- Fills seen.card, .live, .reserved, .counted, .earliest. `kept` is the state's text, or nothing.
local function count_in_flight(now, now_text, kept, seen)
  local card = read('ZCARD', KEYS.inflight)
  local known, live, reserved, counted, earliest = in_flight_fields(kept)
  if known ~= card or now < counted then
    -- Somebody else has changed the set, or the clock has gone back.
    live, reserved, counted, earliest = 0, 0, now, NEVER
    local members = read('ZRANGEBYSCORE', KEYS.inflight, '(' .. now_text, '+inf', 'WITHSCORES')
    for i = 1, #members, 2 do
      live, reserved = live + 1, reserved + number_at(KEYS.inflight, string.match(members[i], '^(%d+):'))
      earliest = math.min(earliest, number_at(KEYS.inflight, members[i + 1]))
    end
  elseif now >= earliest then
    local lapsed = read('ZRANGEBYSCORE', KEYS.inflight, '(' .. integer(counted), now_text)
    for i = 1, #lapsed do
      live, reserved = live - 1, reserved - number_at(KEYS.inflight, string.match(lapsed[i], '^(%d+):'))
    end
    local next_one = read('ZRANGEBYSCORE', KEYS.inflight, '(' .. now_text, '+inf', 'WITHSCORES', 'LIMIT', '0', '1')
    counted, earliest = now, next_one[2] and number_at(KEYS.inflight, next_one[2]) or NEVER
  end
  seen.card, seen.live, seen.reserved, seen.counted, seen.earliest = card, live, reserved, counted, earliest
end

-- The state's text after one more permit is in the set. Empty, so that the next entry counts, where that isn't known: an
-- exit doesn't count, and its entry in a damaged set may have failed.
local function in_flight_with_one_more(seen, deadline, added)
  if not seen.card and not seen.damaged then
    seen.card, seen.live, seen.reserved, seen.counted, seen.earliest = in_flight_fields(seen.state[7])
  end
  if not seen.card or added ~= 1 then return '' end
  return in_flight_text(seen.card + 1, seen.live + 1, seen.reserved + ARGV.reserve, seen.counted,
    math.min(seen.earliest, deadline))
end
