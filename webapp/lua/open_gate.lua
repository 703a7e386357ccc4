-- Have a line that was begun give numbers and be admitted from: SQL knows of its epoch now.
--
-- KEYS     1 gate
-- ARGV     1 epoch   2 grace in ms: how long admission waits for receipts; as long as they come in, twice as long
-- Returns  1 opened; 0 when the gate is open already, or was begun anew, or in another life of the server
--
-- A repeat changes nothing.

local gate, epoch, grace_ms = KEYS[1], ARGV[1], ARGV[2]

local known = redis.call('HMGET', gate, 'epoch', 'begun')
local run_id = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
if known[1] ~= epoch or known[2] ~= run_id then return 0 end
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('HDEL', gate, 'begun')
redis.call('HSET', gate, 'run_id', run_id,
  'grace_until', string.format('%.0f', now_ms + grace_ms), 'grace_end', string.format('%.0f', now_ms + 2 * grace_ms))
return 1
