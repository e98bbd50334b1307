-- How many of the entries that were placed last stay in their list, at least? Where it holds so many, older ones may have
-- been cut off.
local placed_kept = 24
