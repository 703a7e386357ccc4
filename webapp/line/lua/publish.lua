-- Copy a committed row of the coupon to its gate. When coupons came back, make standby the line again.
--
-- KEYS     1 gate   2 line   3 standby   4 results   5 arrivals
-- ARGV     1 revision   2 status   3 quota ("" = unlimited)   4 issued   5 opens_at ms   6 closes_at ms
--          7 sold out (0 or 1)   8 most places in standby for who comes late
--          9 audience: the version of who may have it ("" = everybody)   10 what a pause says ("" = nothing)
-- Returns  1 written; 0 the gate has a newer revision; -1 no epoch is open in this run of the server, or not any more,
--          because results are needed again that have left Redis
--
-- A repeat changes nothing, and writes nothing.

local gate = KEYS[1]

local known = redis.call('HMGET', gate, 'revision', 'run_id')
if not known[1] or known[2] ~= RUN then return -1 end
if tonumber(ARGV[1]) < tonumber(known[1]) then return 0 end
write_policy(unpack(KEYS))
return redis.call('HEXISTS', gate, 'run_id') == 1 and 1 or -1
