-- Which figures decide on an exit? Those of the policy in force, whoever calls: a caller with others would shrink
-- windows that all callers share, or forget records too early. (An entry of another policy is denied.) Puts them in the
-- place of the caller's, and reads the state.
-- Needs figure_of, permit_field, applied, in_force; KEYS.state; ARGV.policy, figures, numbers, dedup_ttl_ms
state = redis.pcall('HMGET', KEYS.state, 'fence', 'since', permit_field, 'run_id', 'lost', 'in_flight', 'policy')
in_force = in_force or state[7]
local figures
if in_force and in_force ~= ARGV.policy then
  figures = applied and string.match(applied, '\n( [^\n]*)')
  if not applied then figures = redis.pcall('HGET', KEYS.state, 'figures') end
end
if type(figures) == 'string' then
  -- The permit's own life, lock_ttl_ms, is the caller's: it has counted its deadline by it before the call.
  local decided, fence_seen, symbol_limit, symbol_window, global_limit, global_window, lock_ttl, dedup_ttl, max_age, skew,
    most = struct.unpack('>ddddddddddd', ARGV.numbers)
  ARGV.dedup_ttl_ms = figure_of(figures, 'dedup_ttl_ms') or ARGV.dedup_ttl_ms
  ARGV.numbers = struct.pack('>ddddddddddd', decided, fence_seen, symbol_limit, symbol_window,
    global_limit, figure_of(figures, 'rate_global_window_ms') or global_window, lock_ttl, ARGV.dedup_ttl_ms,
    figure_of(figures, 'max_age_ms') or max_age, figure_of(figures, 'skew_ms') or skew, most)
  ARGV.figures = figures .. ARGV.figures  -- of two figures with one name, the first counts
end
