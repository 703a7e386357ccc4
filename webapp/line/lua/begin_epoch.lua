-- Begin an epoch: write the gate from SQL, unless an epoch is open in this run of the server. Nobody gets a number or
-- is admitted before open_epoch.lua, which the caller runs once SQL knows the epoch and its mark.
--
-- KEYS     1 gate   2 line   3 standby   4 results   5 arrivals
-- ARGV     1 revision   2 status   3 quota ("" = unlimited)   4 issued   5 opens_at ms   6 closes_at ms
--          7 sold out (0 or 1)   8 most places in standby   9 audience ("" = everybody)   10 what a pause says
--          11 epoch   12 highest number that SQL heard of   13 serving: the highest number that SQL decided
--          14 step: the counter starts at the next multiple above every known number (0: right above)
--          15 last number that was issued a coupon ("" = none)   16 mark of this beginning
-- Returns  the floor: every new number is above it; -1 when an epoch is open, and nothing is changed
--
-- Tickets that survived in the line or in standby stay, and standby is the line again if coupons are left. Their numbers
-- count as known, if they can be numbers of tickets. The arrivals stay up to the surviving counter. Numbers from there to the floor have no known time, and a
-- mark says so.

local gate, line, standby, arrivals = KEYS[1], KEYS[2], KEYS[3], KEYS[5]
local floor, step = tonumber(ARGV[12]), tonumber(ARGV[14])

local known = redis.call('HMGET', gate, 'run_id', 'last', 'heard', 'sold_out')
if known[1] == RUN then return -1 end
for _, number in ipairs({known[2] or 0, known[3] or 0}) do floor = math.max(floor, number) end
for _, queue in ipairs({line, standby}) do
  local top = redis.call('ZREVRANGEBYSCORE', queue, '(4503599627370496', 0, 'WITHSCORES', 'LIMIT', 0, 1)
  if top[2] and tonumber(top[2]) > floor then floor = tonumber(top[2]) end
end
if step > 0 then floor = (math.floor(floor / step) + 1) * step end
if not known[2] then
  redis.call('DEL', arrivals)
elseif floor > tonumber(known[2]) then
  redis.call('ZADD', arrivals, whole(known[2] + 1), 'unknown:' .. whole(floor))
end
write_policy(unpack(KEYS))
-- Nobody knows when the coupons had gone, if the gate did not.
if known[4] ~= '1' then redis.call('HDEL', gate, 'sold_out_at') end
redis.call('HSET', gate, 'epoch', ARGV[11], 'serving', ARGV[13], 'begun', RUN, 'mark', ARGV[16],
  'floor', whole(floor), 'last', whole(floor))
redis.call('HDEL', gate, 'run_id', 'heard', 'last_issued', 'elsewhere')
if ARGV[15] ~= '' then redis.call('HSET', gate, 'last_issued', ARGV[15]) end
return floor
