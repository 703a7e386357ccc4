-- Have admission wait longer for receipts, while it waits: a receipt has shown how long the line was.
--
-- KEYS     1 gate
-- ARGV     1 grace in ms, from the opening of the epoch
-- Returns  1 admission waits at least that long; 0 it does not wait any more, and nothing is changed
--
-- A repeat changes nothing, and a shorter grace neither.

local gate, grace_ms = KEYS[1], tonumber(ARGV[1])

if redis.call('HGET', gate, 'run_id') ~= RUN then return 0 end
local wait_ms = awaits_receipts(gate)
if not wait_ms then return 0 end
if grace_ms > wait_ms then redis.call('HINCRBY', gate, 'grace_until', whole(grace_ms - wait_ms)) end
return 1
