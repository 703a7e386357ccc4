-- Have admission wait longer for receipts, while it waits: a receipt has shown how long the line was.
--
-- KEYS     1 gate
-- ARGV     1 grace in ms, from the opening of the epoch
-- Returns  1 admission waits at least that long; 0 it does not wait any more, and nothing is changed
--
-- A repeat changes nothing, and a shorter grace neither.

local gate, grace_ms = KEYS[1], tonumber(ARGV[1])

local known = redis.call('HMGET', gate, 'run_id', 'grace_from', 'grace_until')
if not known[2] or known[1] ~= this_run() then return 0 end
local from, until_ms = known[2], known[3]
if not awaits_receipts(clock_ms(), from, until_ms) then return 0 end
redis.call('HSET', gate, 'grace_until', whole(math.max(until_ms, from + grace_ms)))
return 1
