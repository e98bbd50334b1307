-- How many permits of entries are live, and how much margin do they reserve? The state keeps both. So a verdict costs the
-- same whether one permit is live or ten thousand. This part of the guards walks only over permits whose deadline has passed
-- since the last count, once for each; or over all live ones, where the state doesn't fit the set. Whether it fits is asked
-- here alone, and so each time the earliest deadline has passed: a member that a hand has taken out counts until then.
-- Changes card, live, reserved, counted, earliest, which in_flight_packed explains.
-- Needs read, number_at, integer; KEYS.inflight
local members = read('ZCARD', KEYS.inflight)
local fits = members == card and now >= counted  -- else somebody has changed the set, or the clock has gone back
if fits and now >= earliest then
  local lapsed = read('ZRANGEBYSCORE', KEYS.inflight, '(' .. integer(counted), integer(now))
  for i = 1, #lapsed do
    live, reserved = live - 1, reserved - number_at(KEYS.inflight, string.match(lapsed[i], '^(%d+):'))
  end
  local next_one = read('ZRANGEBYSCORE', KEYS.inflight, '(' .. integer(now), '+inf', 'WITHSCORES', 'LIMIT', '0', '1')
  counted, earliest = now, next_one[2] and number_at(KEYS.inflight, next_one[2]) or 9007199254740991
end
-- Before the limit denies, it counts anew: what is kept may have drifted.
if not fits or live >= max_in_flight then
  card, live, reserved, counted, earliest = members, 0, 0, now, 9007199254740991
  local all = read('ZRANGEBYSCORE', KEYS.inflight, '(' .. integer(now), '+inf', 'WITHSCORES')
  for i = 1, #all, 2 do
    live, reserved = live + 1, reserved + number_at(KEYS.inflight, string.match(all[i], '^(%d+):'))
  end
  if all[2] then earliest = number_at(KEYS.inflight, all[2]) end
end
