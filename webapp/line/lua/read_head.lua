-- Read the first tickets of a line, with the epoch and the last number given at that same instant.
--
-- KEYS     1 gate   2 line
-- ARGV     1 how many
-- Returns  {epoch, last, sold out (0 or 1), user, number, user, number, …}, in order of number; no tickets while
--          admission waits for receipts; {} when no epoch is open in this run of the server

local gate, line = KEYS[1], KEYS[2]
local count = tonumber(ARGV[1])

local known = redis.call('HMGET', gate, 'epoch', 'last', 'run_id', 'sold_out')
if not known[1] or known[3] ~= RUN then return {} end
local head = {}
if not awaits_receipts(gate) then
  head = redis.call('ZRANGE', line, 0, count - 1, 'WITHSCORES')
end
for _, fact in ipairs({known[4], known[2], known[1]}) do table.insert(head, 1, fact) end
return head
