-- Read the first tickets of a line, with the epoch and the last number given at that same instant.
--
-- KEYS     1 gate   2 line
-- ARGV     1 how many
-- Returns  {epoch, last, user, number, user, number, …}, in order of number; no tickets while receipts are awaited;
--          {} when the gate is missing or older than this life of the server

local gate, line = KEYS[1], KEYS[2]
local count = tonumber(ARGV[1])

local policy = redis.call('HMGET', gate, 'epoch', 'last', 'run_id', 'grace_until')
if not policy[1] or policy[3] ~= string.match(redis.call('INFO', 'server'), 'run_id:(%w+)') then return {} end
local time = redis.call('TIME')
local head = {}
if time[1] * 1000 + math.floor(time[2] / 1000) >= tonumber(policy[4]) then
  head = redis.call('ZRANGE', line, 0, count - 1, 'WITHSCORES')
end
table.insert(head, 1, policy[2])
table.insert(head, 1, policy[1])
return head
