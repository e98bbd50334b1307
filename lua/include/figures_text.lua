-- How does the state keep the figures of a policy? As one text of the caller's, which figure_of reads.
-- Needs ARGV.rate_symbol_limit, rate_symbol_window_ms, rate_global_limit, rate_global_window_ms, lock_ttl_ms,
--       dedup_ttl_ms, max_age_ms, skew_ms, failure_limit, failure_window_ms, safe_mode_ttl_ms, cooldown_global_ms,
--       max_in_flight, after_memory_loss, other_figures
local function figures_text()
  return ' rate_symbol_limit=' .. ARGV.rate_symbol_limit
    .. ' rate_symbol_window_ms=' .. ARGV.rate_symbol_window_ms
    .. ' rate_global_limit=' .. ARGV.rate_global_limit
    .. ' rate_global_window_ms=' .. ARGV.rate_global_window_ms
    .. ' lock_ttl_ms=' .. ARGV.lock_ttl_ms
    .. ' dedup_ttl_ms=' .. ARGV.dedup_ttl_ms
    .. ' max_age_ms=' .. ARGV.max_age_ms
    .. ' skew_ms=' .. ARGV.skew_ms
    .. ' failure_limit=' .. ARGV.failure_limit
    .. ' failure_window_ms=' .. ARGV.failure_window_ms
    .. ' safe_mode_ttl_ms=' .. ARGV.safe_mode_ttl_ms
    .. ' cooldown_global_ms=' .. ARGV.cooldown_global_ms
    .. ' max_in_flight=' .. ARGV.max_in_flight
    .. ' after_memory_loss=' .. ARGV.after_memory_loss .. ' ' .. ARGV.other_figures
end
