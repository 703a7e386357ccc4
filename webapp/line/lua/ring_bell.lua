-- Set the bell of a line that has waiting tickets and no bell.
--
-- KEYS     1 gate   2 line   3 bell
-- ARGV     1 life of the bell in ms
-- Returns  1: the caller enqueues one admission job; 0: no ticket waits, the bell is set, or receipts are awaited

local gate, line, bell = KEYS[1], KEYS[2], KEYS[3]

if redis.call('ZCARD', line) == 0 then return 0 end
local grace_until = redis.call('HGET', gate, 'grace_until')
if grace_until and clock_ms() < tonumber(grace_until) then return 0 end
if redis.call('SET', bell, '1', 'NX', 'PX', ARGV[1]) then return 1 end
return 0
