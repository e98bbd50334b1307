-- Is the account's list of admissions missing, though it must still be there? The server's clock was ahead then, so far
-- that the list has lapsed, and records with it; or a hand has taken the list away. Why the memory is new, or nothing.
-- The clocks by which a server lets keys lapse and answers TIME are a few ms apart; a second is more than enough. On a
-- server that may evict keys, a missing list says nothing.
local function list_lapsed(now, seen)
  if seen.lapses and not seen.untrusted and seen.lapses - now > 1000 then
    return 'the list of admissions is gone before its time: the clock was ahead, or the key was deleted'
  end
end
