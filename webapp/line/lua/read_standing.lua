-- Read the place or the result of each user, at one instant.
--
-- KEYS     1 gate   2 line   3 standby   4 results
-- ARGV     user ids
-- Returns  {epoch, then for each of them answer, number, ahead, result}; answer: a number of webapp.line.types.Reply;
--          ahead: how many tickets come before this one, in the line or in standby; NO_GATE also when no epoch is open in
--          this run of the server; PAST instead of NO_TICKET when results have left Redis: SQL knows whether this user
--          has one

local gate, line, standby, results = unpack(KEYS)
local NO_GATE, WAITING, DECIDED, STANDBY, NO_TICKET, PAST = 0, 1, 2, 3, 7, 8

local known = redis.call('HMGET', gate, 'epoch', 'run_id', 'closes_at')
local reply = {tonumber(known[1]) or 0}

if not known[1] or known[2] ~= RUN then
  for _ in ipairs(ARGV) do tell(reply, NO_GATE, 0, 0, '') end
  return reply
end

local decided = redis.call('HMGET', results, unpack(ARGV))
local in_line = redis.call('ZMSCORE', line, unpack(ARGV))
local in_standby = redis.call('ZMSCORE', standby, unpack(ARGV))
for i, user in ipairs(ARGV) do
  if decided[i] then
    tell(reply, DECIDED, 0, 0, decided[i])
  elseif in_line[i] then
    tell(reply, WAITING, tonumber(in_line[i]), redis.call('ZRANK', line, user), '')
  elseif in_standby[i] then
    tell(reply, STANDBY, tonumber(in_standby[i]), redis.call('ZRANK', standby, user), '')
  else
    tell(reply, results_gone(known[3], clock_ms()) and PAST or NO_TICKET, 0, 0, '')
  end
end
return reply
