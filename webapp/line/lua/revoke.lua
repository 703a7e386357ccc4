-- Replace a result: of an issue that was revoked, or one that cannot be read.
--
-- KEYS     1 results
-- ARGV     1 user id   2 the result to replace ("issued:<number>:<code>")   3 the result in its place ("" for none)
-- Returns  1 replaced; 0 Redis holds another result, which stays
--
-- A repeat changes nothing.

if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
if ARGV[3] == '' then
  redis.call('HDEL', KEYS[1], ARGV[1])
else
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
end
return 1
