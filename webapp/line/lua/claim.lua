-- Give a user the next ticket of a line, a place in standby when the coupons are gone, or the reply that they already have.
--
-- KEYS     1 gate   2 line   3 standby   4 results   5 bell   6 arrivals   7 members
-- ARGV     1 user id   2 life of the bell in ms   3 length of a bucket of arrivals in ms
-- Returns  {answer, epoch, number, ahead, ring, now_ms, result}
--          answer: a number of webapp.line.types.Reply; ring 1: this caller enqueues the admission job;
--          result: the stored result when decided; opens_at in ms when not open yet; when closed or sold out
--          "<since ms>:<last number issued>:<its arrival, ms>:<issued>:<in standby>", each empty where it is unknown;
--          NOT_ELIGIBLE when the coupon is for others, NO_LIST when the members in Redis are not whole, or not those of
--          the gate: then nobody new gets a number;
--          PAST instead of CLOSED when results have left Redis: SQL knows whether this user has one
--          an error OOM instead of a new number when the server is nearly full
--
-- NO_GATE also when no epoch is open in this run of the server: its numbers and results may be of the past. A repeat
-- changes nothing and returns the same number. A result or a ticket comes before every other check, so a user who has
-- one sees it at any time, also after closing.
--
-- Who may have it, the bit of the user in members says. It counts only behind a mark that names the epoch and the
-- audience of the gate: after every loss, and until every change has arrived, there is no such mark.
--
-- Each bucket of time keeps the first number given in it. A clock that is put back a little opens no bucket until it has
-- caught up, so the times rise with the numbers. One that is put back farther was wrong, and buckets follow it.

local gate, line, standby, results, bell, arrivals, members = unpack(KEYS)
local user, bell_ms, bucket_ms = ARGV[1], ARGV[2], tonumber(ARGV[3])
local CATCHES_UP_MS = 10000
local NO_GATE, WAITING, DECIDED, STANDBY, NOT_OPEN, CLOSED, SOLD_OUT, PAST = 0, 1, 2, 3, 4, 5, 6, 8
local NOT_ELIGIBLE, NO_LIST = 9, 10

local known = redis.call('HMGET', gate, 'epoch', 'status', 'opens_at', 'closes_at', 'sold_out', 'run_id', 'arrived',
  'looked_at', 'full', 'standby_limit', 'audience')
local epoch, status, opens_at, closes_at, sold_out, run_id, arrived, looked_at, full, most_in_standby, audience =
  unpack(known)
if not epoch or run_id ~= this_run() then return {NO_GATE, 0, 0, 0, 0, 0, ''} end
epoch = tonumber(epoch)

local now_ms = clock_ms()

local result = redis.call('HGET', results, user)
if result then return {DECIDED, epoch, 0, 0, 0, now_ms, result} end
local number = redis.call('ZSCORE', line, user)
if number then
  return {WAITING, epoch, tonumber(number), redis.call('ZRANK', line, user), 0, now_ms, ''}
end
number = redis.call('ZSCORE', standby, user)
if number then
  return {STANDBY, epoch, tonumber(number), redis.call('ZRANK', standby, user), 0, now_ms, ''}
end

local function refuse(answer, since)
  local known = redis.call('HMGET', gate, 'issued', 'last_issued', 'sold_out_at')
  local last, arrived_ms, in_standby = '', '', ''
  -- While tickets are in line, a batch may be committed and not settled: the last number issued is not known yet.
  if redis.call('EXISTS', line) == 0 then
    last, in_standby = known[2] or '', redis.call('ZCARD', standby)
    local first = redis.call('ZREVRANGEBYSCORE', arrivals, known[2] or 0, '-inf', 'LIMIT', 0, 1)[1]
    if tonumber(first) then arrived_ms = whole(first * bucket_ms) end
  end
  if results_gone(closes_at, now_ms) then answer = PAST end
  return {answer, epoch, 0, 0, 0, now_ms,
    table.concat({since or known[3] or '', last, arrived_ms, known[1], in_standby}, ':')}
end

local over = now_ms >= tonumber(closes_at)
if status == 'closed' then return refuse(CLOSED, over and closes_at or '') end
if now_ms < tonumber(opens_at) then return {NOT_OPEN, epoch, 0, 0, 0, now_ms, opens_at} end
if over then return refuse(CLOSED, closes_at) end
if audience ~= '' then
  if not audience or redis.call('GETRANGE', members, 0, MARK_BYTES - 1) ~= members_mark(known[1], audience) then
    return {NO_LIST, epoch, 0, 0, 0, now_ms, ''}
  end
  if redis.call('GETBIT', members, MARK_BYTES * 8 + user) == 0 then
    return {NOT_ELIGIBLE, epoch, 0, 0, 0, now_ms, ''}
  end
end

-- Who comes late stands behind all who waited: their numbers are lower, also while they are still in the line.
local late, in_standby = sold_out == '1', 0
if late then
  in_standby = redis.call('ZCARD', standby) + redis.call('ZCARD', line)
  if in_standby >= (tonumber(most_in_standby) or 0) then return refuse(SOLD_OUT) end
end

-- A look at the memory takes as long as some claims, so the gate keeps what the last one saw, whatever the clock does.
if math.abs(now_ms - (tonumber(looked_at) or 0)) >= bucket_ms then
  full = is_nearly_full() and '1' or '0'
  redis.call('HSET', gate, 'looked_at', whole(now_ms), 'full', full)
end
if full == '1' then return redis.error_reply('OOM only the reserve of memory is left') end

number = redis.call('HINCRBY', gate, 'last', 1)
redis.call('ZADD', late and standby or line, whole(number), user)
local bucket = math.floor(now_ms / bucket_ms)
local ahead_ms = (tonumber(arrived or 0) - bucket) * bucket_ms
if ahead_ms < 0 or ahead_ms > CATCHES_UP_MS then
  local name = whole(bucket)
  redis.call('HSET', gate, 'arrived', name)
  redis.call('ZADD', arrivals, 'NX', whole(number), name)
end
if late then return {STANDBY, epoch, number, in_standby, 0, now_ms, ''} end
local ring = 0
if status == 'live' and redis.call('SET', bell, '1', 'NX', 'PX', bell_ms) then ring = 1 end
return {WAITING, epoch, number, redis.call('ZCARD', line) - 1, ring, now_ms, ''}
