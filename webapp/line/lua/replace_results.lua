-- Replace results by those that SQL knows, and take whoever has one out of the line and standby.
--
-- KEYS     1 gate   2 line   3 standby   4 results
-- ARGV     1 revision that the lock of the coupon's row has raised, then for each user member, result ("" for none);
--          at most 2,000 users, because one call from Lua takes no more arguments
-- Returns  1; an error LATE, and nothing is changed, when an epoch is open whose gate is as new: another process has had
--          the lock since, and knows more
--
-- A repeat changes nothing.

local gate, line, standby, results = KEYS[1], KEYS[2], KEYS[3], KEYS[4]

local known = redis.call('HMGET', gate, 'revision', 'run_id')
if known[2] == this_run() and tonumber(known[1]) >= tonumber(ARGV[1]) then
  return redis.error_reply('LATE another process has had the lock since')
end
for i = 2, #ARGV, 2 do
  local member, result = ARGV[i], ARGV[i + 1]
  if result == '' then
    redis.call('HDEL', results, member)
  else
    redis.call('HSET', results, member, result)
    redis.call('ZREM', line, member)
    redis.call('ZREM', standby, member)
  end
end
return 1
