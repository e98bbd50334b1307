-- Who asks for what? Packed in one argument, with the numbers that question.lua reads and the texts that written.lua
-- reads: here that takes the time of as many arguments, but the caller encodes one. A text ends with a zero byte, and
-- holds none. `observes` and `is_exit` come as a byte each, 1 for yes. What comes behind these six begins at `texts_end`.
-- Needs ARGV.asked
local exit_byte, observes_byte, intent_id, token, fingerprint, policy, texts_end = struct.unpack('>BBssss', ARGV.asked)
local is_exit, observes = exit_byte == 1, observes_byte == 1
