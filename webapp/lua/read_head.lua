-- Read the first tickets of a line, with the epoch and the last number given at that same instant.
--
-- KEYS     1 gate   2 line
-- ARGV     1 how many
-- Returns  {epoch, last, user, number, user, number, …}, in order of number; {} when the gate is missing

local gate, line = KEYS[1], KEYS[2]
local count = tonumber(ARGV[1])

local policy = redis.call('HMGET', gate, 'epoch', 'last')
if not policy[1] then return {} end
local head = redis.call('ZRANGE', line, 0, count - 1, 'WITHSCORES')
table.insert(head, 1, policy[2])
table.insert(head, 1, policy[1])
return head
