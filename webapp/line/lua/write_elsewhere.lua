-- Write who has a coupon of another wave: all bits at once, with their mark, and have claims look at them.
--
-- KEYS     1 gate   2 elsewhere
-- ARGV     1 epoch   2 version of the other waves that the bits are of   3 the bits, one for each user id
-- Returns  1 written; 0, and nothing is changed, when no epoch of that number is open in this run of the server
--
-- A repeat changes nothing.

local gate, elsewhere = KEYS[1], KEYS[2]

local known = redis.call('HMGET', gate, 'epoch', 'run_id', 'closes_at')
if known[1] ~= ARGV[1] or known[2] ~= RUN then return 0 end
redis.call('SET', elsewhere, bits_mark(known[1], ARGV[2]) .. ARGV[3])
keep_until_after(known[3], elsewhere)
redis.call('HSET', gate, 'elsewhere', ARGV[2])
return 1
