-- Settle one committed batch: results in, tickets out, "now serving" and the last issued number on.
--
-- KEYS     1 gate   2 line   3 standby   4 results   5 arrivals
-- ARGV     1 to 10 the coupon's row as publish.lua takes it (1 = "": the gate is left alone), then for each ticket
--          member, number, result ("issued:<number>:<code>", "rejected:<number>:<reason>", or "" for none);
--          at most 2,000 tickets, because one call from Lua takes no more arguments
-- Returns  how many tickets left the line
--
-- A repeat changes nothing. A ticket is removed only if its number is still the one that was decided. "issued"
-- overrides every result but a rejection of the same number: that issue was revoked since, however late the caller is.
-- Any other result is written only if there is none. The gate is not put back, because the revision only rises.

local gate, line, standby, results = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local revision = tonumber(ARGV[1]) or 0

local known = redis.call('HMGET', gate, 'revision', 'serving', 'last_issued')
if not known[1] then return 0 end
local serving, last_issued, left = tonumber(known[2]), tonumber(known[3] or 0), 0

local members, numbers, winners, won = {}, {}, {}, {}
for i = 11, #ARGV, 3 do
  local member, number, result = ARGV[i], tonumber(ARGV[i + 1]), ARGV[i + 2]
  table.insert(members, member)
  table.insert(numbers, number)
  if string.sub(result, 1, 7) == 'issued:' then
    table.insert(winners, member)
    table.insert(won, result)
  elseif result ~= '' then
    redis.call('HSETNX', results, member, result)
  end
  if number > serving then serving = number end
end

if #won > 0 then
  local standing, news = redis.call('HMGET', results, unpack(winners)), {}
  for i, result in ipairs(won) do
    local issued = string.match(result, '%d+')
    if string.match(standing[i] or '', '^rejected:(%d+)') ~= issued then
      table.insert(news, winners[i])
      table.insert(news, result)
      last_issued = math.max(last_issued, tonumber(issued))
    end
  end
  if #news > 0 then redis.call('HSET', results, unpack(news)) end
end
for _, queue in ipairs({line, standby}) do
  if #members > 0 and redis.call('EXISTS', queue) == 1 then
    local gone = {}
    for i, score in ipairs(redis.call('ZMSCORE', queue, unpack(members))) do
      if score and tonumber(score) == numbers[i] then table.insert(gone, members[i]) end
    end
    if #gone > 0 then left = left + redis.call('ZREM', queue, unpack(gone)) end
  end
end

redis.call('HSET', gate, 'serving', whole(serving))
if last_issued > 0 then redis.call('HSET', gate, 'last_issued', whole(last_issued)) end
if revision > tonumber(known[1]) then write_policy(unpack(KEYS)) end
return left
