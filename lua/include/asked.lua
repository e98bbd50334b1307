-- Who asks for what? Packed in one argument, in place of twelve. Here that takes the time of twelve, but the caller
-- encodes one. A text ends with a zero byte, and holds none. `observes` and `is_exit` come as a byte each, 1 for yes.
-- What comes behind the twelve begins at `texts_end`.
-- Needs ARGV.texts
local exit_byte, observes_byte, intent_id, token, fingerprint, symbol, side, reserve, policy, symbol_window_text,
  lock_ttl_text, dedup_ttl_text, texts_end = struct.unpack('>BBssssssssss', ARGV.texts)
local is_exit, observes = exit_byte == 1, observes_byte == 1
