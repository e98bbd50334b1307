-- Which figures decide on an exit? Those of the policy in force, whoever calls: a caller with others would shrink
-- windows that all callers share, or forget records too early. (An entry of another policy is denied.) Puts them in the
-- place of the caller's. The state that this reads stays in `seen`.
-- Needs figure_of, figure_numbers; KEYS.state; ARGV.intent_id, policy, figures, numbers, dedup_ttl_ms
local function take_figures_in_force(seen)
  seen.state = redis.pcall('HMGET', KEYS.state, 'fence', 'since', 'policy', 'permit:' .. ARGV.intent_id, 'run_id',
    'lost', 'in_flight', 'figures')
  local in_force, figures = seen.state[3], seen.state[8]
  if not in_force or in_force == ARGV.policy or not figures then return end
  -- The permit's own life, lock_ttl_ms, is the caller's: it has counted its deadline by it before the call.
  local symbol_limit, symbol_window, global_limit, global_window, lock_ttl, dedup_ttl, max_age, skew, most =
    figure_numbers()
  ARGV.numbers = struct.pack('>ddddddddd', symbol_limit, symbol_window, global_limit,
    figure_of(figures, 'rate_global_window_ms') or global_window, lock_ttl,
    figure_of(figures, 'dedup_ttl_ms') or dedup_ttl, figure_of(figures, 'max_age_ms') or max_age,
    figure_of(figures, 'skew_ms') or skew, most)
  ARGV.dedup_ttl_ms = figure_of(figures, 'dedup_ttl_ms') or ARGV.dedup_ttl_ms
  ARGV.figures = figures .. ARGV.figures  -- of two figures with one name, the first counts
end
