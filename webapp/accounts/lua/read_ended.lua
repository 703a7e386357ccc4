-- Read the sessions that ended since the last reading.
--
-- KEYS     1 ended   2 life: names the filling from SQL that this set began with, "run_id:token"
-- ARGV     1 life that the reader knows ("" = none)   2 score up to which it has read   3 most entries
-- Returns  {life, entry, score, entry, score, ...}; from the beginning when the reader knows another life
--          {run_id} when the set is not complete: there is no life, or it is of an earlier run of the server
--          an error READONLY from a server that has become a replica: what it knows may be old

local ended, life = KEYS[1], redis.call('GET', KEYS[2])
if is_replica() then return redis.error_reply('READONLY this server has become a replica') end
if not life or string.match(life, '%w+') ~= RUN then return {RUN} end
local after = life == ARGV[1] and '(' .. ARGV[2] or '-inf'
local found = redis.call('ZRANGEBYSCORE', ended, after, '+inf', 'WITHSCORES', 'LIMIT', 0, ARGV[3])
return {life, unpack(found)}
