-- Which figures decide on an exit? Those of the policy in force, whoever calls: a caller with others would shrink
-- windows that all callers share, or forget records too early. (An entry of another policy is denied.) Puts them in the
-- place of the caller's. The state that this reads stays in `seen`.
-- Needs KEYS.state; ARGV.intent_id, policy, rate_global_window_ms, dedup_ttl_ms, max_age_ms, skew_ms,
--       after_memory_loss
local function take_figures_in_force(seen)
  seen.state = redis.pcall('HMGET', KEYS.state, 'fence', 'since', 'policy', 'permit:' .. ARGV.intent_id, 'run_id',
    'lost', 'in_flight', 'figures')
  local in_force, figures = seen.state[3], seen.state[8]
  if not in_force or in_force == ARGV.policy or not figures then return end
  -- The permit's own life, lock_ttl_ms, is the caller's: it has counted its deadline by it before the call.
  ARGV.rate_global_window_ms = figure_of(figures, 'rate_global_window_ms') or ARGV.rate_global_window_ms
  ARGV.dedup_ttl_ms = figure_of(figures, 'dedup_ttl_ms') or ARGV.dedup_ttl_ms
  ARGV.max_age_ms = figure_of(figures, 'max_age_ms') or ARGV.max_age_ms
  ARGV.after_memory_loss = string.match(figures, ' after_memory_loss=(%l+) ') or ARGV.after_memory_loss
  ARGV.skew_ms = figure_of(figures, 'skew_ms') or ARGV.skew_ms
end
