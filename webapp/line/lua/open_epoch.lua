-- Open an epoch that was begun, once SQL knows it: from now on the line gives numbers and is admitted.
--
-- KEYS     1 gate
-- ARGV     1 epoch   2 grace in ms: admission waits that long for receipts; await_receipts.lua has it wait longer
-- Returns  1 opened; 0 when the epoch is open already, or another one was begun, or the server has started again
--
-- A repeat changes nothing.

local gate, epoch, grace_ms = KEYS[1], ARGV[1], ARGV[2]

local known = redis.call('HMGET', gate, 'epoch', 'begun')
local run_id = this_run()
if known[1] ~= epoch or known[2] ~= run_id then return 0 end
local now_ms = clock_ms()
redis.call('HDEL', gate, 'begun')
redis.call('HSET', gate, 'run_id', run_id,
  'grace_from', whole(now_ms), 'grace_until', whole(now_ms + grace_ms))
return 1
