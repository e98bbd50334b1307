-- Which figures decide on an exit? Those of the policy in force, whoever calls: a caller with others would shrink
-- windows that all callers share, or forget records too early. (An entry of another policy is denied.) Puts them in the
-- place of the caller's, and reads the state. The permit's own life, lock_ttl_ms, is the caller's: it has counted its
-- deadline by it before the call. The symbol's window and max_in_flight don't concern an exit, and its account's limit
-- only cuts off what is too old.
-- Needs figure_of, permit_field, in_force, applied, what asked.lua reads and question.lua declares; KEYS.state; ARGV.figures
state = redis.pcall('HMGET', KEYS.state, 'fence', 'since', permit_field, 'run_id', 'lost', 'in_flight', 'policy')
in_force = in_force or state[7]
local figures
if in_force and in_force ~= policy then
  figures = applied and string.match(applied, '\n( [^\n]*)')
  if not applied then figures = redis.pcall('HGET', KEYS.state, 'figures') end
end
if type(figures) == 'string' then
  dedup_ttl_text = figure_of(figures, 'dedup_ttl_ms')
  dedup_ttl = tonumber(dedup_ttl_text or dedup_ttl)
  global_window = tonumber(figure_of(figures, 'rate_global_window_ms') or global_window)
  max_age = tonumber(figure_of(figures, 'max_age_ms') or max_age)
  skew = tonumber(string.match(figures, ' skew_ms=(%d+) ') or skew)  -- which may be 0
  ARGV.figures = figures .. ARGV.figures  -- of two figures with one name, the first counts
end
