-- Read the first tickets of a line, with the epoch and the last number given at that same instant.
--
-- KEYS     1 gate   2 line
-- ARGV     1 how many
-- Returns  {epoch, last, user, number, user, number, …}, in order of number; no tickets while admission waits for
--          receipts; {} when no epoch is open in this run of the server

local gate, line = KEYS[1], KEYS[2]
local count = tonumber(ARGV[1])

local known = redis.call('HMGET', gate, 'epoch', 'last', 'run_id', 'grace_until')
if not known[1] or known[3] ~= this_run() then return {} end
local head = {}
if clock_ms() >= tonumber(known[4]) then
  head = redis.call('ZRANGE', line, 0, count - 1, 'WITHSCORES')
end
table.insert(head, 1, known[2])
table.insert(head, 1, known[1])
return head
