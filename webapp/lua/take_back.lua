-- Replace the result of a coupon that was taken back.
--
-- KEYS     1 results
-- ARGV     1 user id   2 the result that an issue left ("issued:<number>:<code>")   3 the result that takes its place
-- Returns  1 replaced, 0 another result stands, which stays
--
-- A repeat changes nothing.

if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
return 1
