-- How is a new memory noted? With its time and its server, for all callers. A policy may want a person to look first:
-- then it halts. The halt goes before the note, so that no loss is noted without it. A part of evaluate.
-- Needs integer, audit; what question.lua declares; KEYS.state, halt, audit; ARGV.figures
local unhalted = attempt('EXISTS', KEYS.halt) ~= 1
if string.match(ARGV.figures, ' after_memory_loss=(%l+) ') == 'halt' and unhalted then
  attempt('HSET', KEYS.halt, 'scope', 'entries', 'by', 'gate', 'reason', 'memory lost: ' .. new_memory, 'at', now_text)
end
attempt('HSET', KEYS.state, 'fence', integer(last_fence), 'since', now_text, 'lost', now_text,
  'run_id', run_id or '', 'in_flight', '')
audit(KEYS.audit, now_text, 'memory lost', 'gate',
  new_memory .. '; halts, switches, windows and records of before may be lost')
