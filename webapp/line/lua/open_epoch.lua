-- Open an epoch that was begun, once SQL knows its mark: from now on the line gives numbers and is admitted.
--
-- KEYS     1 gate
-- ARGV     1 mark   2 grace in ms: admission waits that long for receipts; await_receipts.lua has it wait longer
-- Returns  1 opened; 0 when the epoch is open already, or the gate was begun by another, or the server has started again
--
-- A repeat changes nothing.

local gate, mark, grace_ms = KEYS[1], ARGV[1], ARGV[2]

local known = redis.call('HMGET', gate, 'mark', 'begun')
if known[1] ~= mark or known[2] ~= RUN then return 0 end
local now_ms = clock_ms()
redis.call('HDEL', gate, 'begun', 'mark')
redis.call('HSET', gate, 'run_id', RUN,
  'grace_from', whole(now_ms), 'grace_until', whole(now_ms + grace_ms))
return 1
