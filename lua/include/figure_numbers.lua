-- Which figures of the policy does every verdict need? Nine numbers, packed by the caller: that costs a third of nine
-- arguments, which Lua would turn into numbers one by one.
--   rate_symbol_limit, rate_symbol_window_ms, rate_global_limit, rate_global_window_ms, lock_ttl_ms, dedup_ttl_ms,
--   max_age_ms, skew_ms, max_in_flight
-- Needs ARGV.numbers
local function figure_numbers()
  return struct.unpack('>ddddddddd', ARGV.numbers)
end
