-- How many permits are live, and how much margin do they reserve? The state keeps both. So a verdict costs the same
-- whether one permit is live or ten thousand. This walks only over permits whose deadline has passed since the last
-- count, once for each; or over all live ones, where the state doesn't fit the set.
-- Fills seen.card, .live, .reserved, .counted, .earliest, which in_flight_packed explains. `kept` is the state's.
-- Needs KEYS.inflight
local function count_in_flight(now, now_text, kept, seen)
  local card = read('ZCARD', KEYS.inflight)
  local known, live, reserved, counted, earliest = in_flight_unpacked(kept)
  if known ~= card or now < counted then
    -- Somebody else has changed the set, or the clock has gone back.
    live, reserved, counted, earliest = 0, 0, now, 9007199254740991
    local members = read('ZRANGEBYSCORE', KEYS.inflight, '(' .. now_text, '+inf', 'WITHSCORES')
    for i = 1, #members, 2 do
      live, reserved = live + 1, reserved + number_at(KEYS.inflight, string.match(members[i], '^(%d+):'))
    end
    if members[2] then earliest = number_at(KEYS.inflight, members[2]) end
  elseif now >= earliest then
    local lapsed = read('ZRANGEBYSCORE', KEYS.inflight, '(' .. integer(counted), now_text)
    for i = 1, #lapsed do
      live, reserved = live - 1, reserved - number_at(KEYS.inflight, string.match(lapsed[i], '^(%d+):'))
    end
    local next_one = read('ZRANGEBYSCORE', KEYS.inflight, '(' .. now_text, '+inf', 'WITHSCORES', 'LIMIT', '0', '1')
    counted, earliest = now, next_one[2] and number_at(KEYS.inflight, next_one[2]) or 9007199254740991
  end
  seen.card, seen.live, seen.reserved, seen.counted, seen.earliest = card, live, reserved, counted, earliest
end
