-- How is a new memory noted? With its time and its server, for all callers. A policy may want a person to look first:
-- then it halts. The halt goes before the note, so that no loss is noted without it.
-- Needs KEYS.state, halt, audit; ARGV.figures
local function note_new_memory(now_text, seen, attempt)
  local halted = attempt('EXISTS', KEYS.halt) == 1
  if string.match(ARGV.figures, ' after_memory_loss=(%l+) ') == 'halt' and not halted then
    attempt('HSET', KEYS.halt, 'scope', 'entries', 'by', 'gate', 'reason', 'memory lost: ' .. seen.new, 'at', now_text)
  end
  attempt('HSET', KEYS.state, 'fence', integer(seen.fence), 'since', now_text, 'lost', now_text,
    'run_id', seen.run_id or '', 'in_flight', '')
  audit(KEYS.audit, now_text, 'memory lost', 'gate',
    seen.new .. '; halts, switches, windows and records of before may be lost')
end
