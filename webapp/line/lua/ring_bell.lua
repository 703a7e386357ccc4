-- Set the bell of a line that has waiting tickets and no bell.
--
-- KEYS     1 gate   2 line   3 bell
-- ARGV     1 life of the bell in ms
-- Returns  1: the caller enqueues one admission job; 0: no ticket waits, the bell is set, or receipts are awaited
--
-- A bell that would live longer than a bell lives was set before the clock was put back: it is set anew.

local gate, line, bell = KEYS[1], KEYS[2], KEYS[3]
local bell_ms = tonumber(ARGV[1])

if redis.call('ZCARD', line) == 0 then return 0 end
if awaits_receipts(gate) then return 0 end
local life_ms = redis.call('PTTL', bell)
if life_ms ~= -2 and life_ms <= bell_ms then return 0 end
redis.call('SET', bell, '1', 'PX', bell_ms)
return 1
