-- Replace results by those that SQL knows, and take whoever has one out of the line and standby.
--
-- KEYS     1 gate   2 line   3 standby   4 results
-- ARGV     1 revision that the lock of the coupon's row has raised   2 mark of the epoch that the caller has begun, ""
--          where one is open; then for each user member, result ("" for none); at most 2,000 users, because one call from
--          Lua takes no more arguments
-- Returns  1; an error LATE, and nothing is changed, when the gate is another: it was begun by another, or is open and as
--          new, so another process has had the lock since and knows more; or it is lost, or the server has started again
--
-- A repeat changes nothing.

local gate, line, standby, results = KEYS[1], KEYS[2], KEYS[3], KEYS[4]

local known = redis.call('HMGET', gate, 'revision', 'run_id', 'mark', 'begun', 'closes_at')
local ours
if ARGV[2] == '' then
  ours = known[2] == RUN and tonumber(known[1]) < tonumber(ARGV[1])
else
  ours = known[4] == RUN and known[3] == ARGV[2]
end
if not ours then return redis.error_reply('LATE the gate is not the one that the caller knows') end
for i = 3, #ARGV, 2 do
  local member, result = ARGV[i], ARGV[i + 1]
  if result == '' then
    redis.call('HDEL', results, member)
  else
    redis.call('HSET', results, member, result)
    redis.call('ZREM', line, member)
    redis.call('ZREM', standby, member)
  end
end
keep_until_after(known[5], results)
return 1
