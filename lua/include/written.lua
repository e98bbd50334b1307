-- What does an admission write as it was asked? Six more texts, behind the numbers. A denial has no use for them, and each
-- text is garbage that the server clears up. What comes behind them begins at `written_end`. A part of evaluate.
-- Needs what question.lua declares; ARGV.asked
local symbol, side, reserve, symbol_window_text, lock_ttl_text, own_dedup_ttl_text, written_end =
  struct.unpack('>ssssss', ARGV.asked, numbers_end)
dedup_ttl_text = dedup_ttl_text or own_dedup_ttl_text
