#!lua flags=
-- Does this server take verdicts? It runs nothing: a server that is full, or a replica, or that may not write for another
-- reason, refuses each script with these flags before its first line. evaluate.lua has the same flags.
--
-- KEYS   1 state             P:exec:state  hash  so that a cluster carries it to the account's server; it isn't read
--
-- Reply  1
return 1
