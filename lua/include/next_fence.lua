-- Which fence comes next? As text. And, when the permit must say verify, the least age in ms of an order that the memory may
-- have lost. On a damaged state, an exit gets a fence from the clock, higher than any counter's; callers know it by its first
-- digits, which are the record's admitted_ms. A part of evaluate.
-- Needs integer, what asked.lua reads and question.lua declares
local fence, verify_age
if damaged then
  fence, verify_age = integer(now * 1000 + micros % 1000), 0
else
  -- The permit says verify in five cases. First: the memory is so new that a lost record's intent may still be fresh.
  -- Second: an exit comes with another policy, whose longer max_age may make an intent fresh after its record lapsed.
  -- Third: the record of an earlier permit of this intent lapsed before the permit was settled.
  -- Fourth: the store may lose records one by one. Fifth: an exit is dated ahead, and fresh for longer than the memory
  -- is young.
  local copy, whole_for = state[3], now - since
  if whole_for < dedup_ttl or whole_for < max_age + skew or decided - skew > now or copy or untrusted
    or (in_force and in_force ~= policy) then
    verify_age = whole_for
    if copy then
      -- The earlier permit's holder sends no request after its deadline; where that can't be read, the age is 0.
      local admitted, span = string.match(copy, '^%l+ %S+ %d+ %S+ (%d+) %S+ %S+ (%d+) ')
      verify_age = admitted and math.min(whole_for, now - admitted - span) or 0
    end
    verify_age = math.max(verify_age, 0)
  end
  fence = integer(last_fence + 1)
end
