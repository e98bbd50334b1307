-- How is a new memory noted? With its time and its server, for all callers. A policy may want a person to look first:
-- then it halts. The halt goes before the note, so that no loss is noted without it. A part of evaluate.
-- Needs integer, audit, noted_in, halts_by_itself; what question.lua declares; KEYS.state; ARGV.figures
if string.match(ARGV.figures, ' after_memory_loss=(%l+) ') == 'halt' then
  if is_exit then
    pcall(halts_by_itself, 'memory lost: ' .. new_memory, now_text)
  else
    halts_by_itself('memory lost: ' .. new_memory, now_text)
  end
end
attempt('HSET', KEYS.state, 'fence', integer(last_fence), 'since', now_text, 'lost', now_text,
  'run_id', run_id or '', 'in_flight', '')
audit(noted_in(), now_text, 'memory lost', 'gate',
  new_memory .. '; halts, switches, windows and records of before may be lost')
