-- Read the place or the result of one user, at one instant.
--
-- KEYS     1 gate   2 line   3 standby   4 results
-- ARGV     1 user id
-- Returns  {answer, epoch, number, ahead, result}; answer: a number of webapp.line.types.Reply; ahead: how many tickets
--          come before this one, in the line or in standby; NO_GATE also when no epoch is open in this run of the server;
--          PAST instead of NO_TICKET when results have left Redis: SQL knows whether this user has one

local gate, line, standby, results = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local user = ARGV[1]
local NO_GATE, WAITING, DECIDED, STANDBY, NO_TICKET, PAST = 0, 1, 2, 3, 7, 8

local known = redis.call('HMGET', gate, 'epoch', 'run_id', 'closes_at')
if not known[1] or known[2] ~= this_run() then return {NO_GATE, 0, 0, 0, ''} end
local epoch = tonumber(known[1])

local result = redis.call('HGET', results, user)
if result then return {DECIDED, epoch, 0, 0, result} end
local number = redis.call('ZSCORE', line, user)
if number then return {WAITING, epoch, tonumber(number), redis.call('ZRANK', line, user), ''} end
number = redis.call('ZSCORE', standby, user)
if number then return {STANDBY, epoch, tonumber(number), redis.call('ZRANK', standby, user), ''} end
return {results_gone(known[3], clock_ms()) and PAST or NO_TICKET, epoch, 0, 0, ''}
