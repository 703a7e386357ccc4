-- Give each user the next ticket of a line, a place in standby when the coupons are gone, or the reply that they already
-- have. The users pressed the button in this order, and the numbers follow it.
--
-- KEYS     1 gate   2 line   3 standby   4 results   5 bell   6 arrivals   7 members   8 elsewhere
-- ARGV     1 life of the bell in ms   2 length of a bucket of arrivals in ms   3 … user ids; the same one may come twice
-- Returns  {epoch, now_ms, ring, then for each of them answer, number, ahead, result}
--          ring: the position of the user whose caller enqueues the admission job, 0 for none;
--          answer: a number of webapp.line.types.Reply;
--          result: the stored result when decided; opens_at in ms when not open yet; when closed or sold out
--          "<since ms>:<last number issued>:<its arrival, ms>:<issued>:<in standby>", each empty where it is unknown;
--          NOT_ELIGIBLE when the coupon is for others, NO_LIST when the members in Redis are not whole, or not those of
--          the gate: then nobody new gets a number; OTHER_WAVE when the user has one of another wave;
--          PAST instead of CLOSED when results have left Redis: SQL knows whether this user has one;
--          FULL instead of a new number when the server is nearly full
--
-- NO_GATE also when no epoch is open in this run of the server: its numbers and results may be of the past. A repeat
-- changes nothing and returns the same numbers. A result or a ticket comes before every other check, so a user who has
-- one sees it at any time, also after closing.
--
-- Who may have it, the bit of the user in members says. It counts only behind a mark that names the epoch and the
-- audience of the gate: after every loss, and until every change has arrived, there is no such mark.
--
-- Who has one of another wave, the bit of the user in elsewhere says, if the gate has the field of that name. It is a
-- hint: a bit that is missing gives a number that admission rejects.
--
-- Each bucket of time keeps the first number given in it. A clock that is put back a little opens no bucket until it has
-- caught up, so the times rise with the numbers. One that is put back farther was wrong, and buckets follow it.

local gate, line, standby, results, bell, arrivals, members, others = unpack(KEYS)
local bell_ms, bucket_ms, users = ARGV[1], tonumber(ARGV[2]), {unpack(ARGV, 3)}
local CATCHES_UP_MS = 10000
local NO_GATE, WAITING, DECIDED, STANDBY, NOT_OPEN, CLOSED, SOLD_OUT, PAST = 0, 1, 2, 3, 4, 5, 6, 8
local NOT_ELIGIBLE, NO_LIST, OTHER_WAVE, FULL = 9, 10, 11, 12

local known = redis.call('HMGET', gate, 'epoch', 'status', 'opens_at', 'closes_at', 'sold_out', 'run_id', 'arrived',
  'looked_at', 'full', 'standby_limit', 'audience', 'elsewhere')
local epoch, status, opens_at, closes_at, sold_out, run_id, arrived, looked_at, full, most_in_standby, audience,
  elsewhere = unpack(known)
local now_ms = clock_ms()
local reply = {tonumber(epoch) or 0, now_ms, 0}

if not epoch or run_id ~= RUN then
  for _ in ipairs(users) do tell(reply, NO_GATE, 0, 0, '') end
  return reply
end

-- Returns why nobody new gets a number, or nil.
local function shut()
  if status == 'closed' then return CLOSED end
  if now_ms < tonumber(opens_at) then return NOT_OPEN end
  if now_ms >= tonumber(closes_at) then return CLOSED end
  if audience == '' then return nil end
  local mark = redis.call('GETRANGE', members, 0, MARK_BYTES - 1)
  if not audience or mark ~= bits_mark(epoch, audience) then return NO_LIST end
end

-- A look at the memory takes as long as some claims, so the gate keeps what the last one saw, whatever the clock does.
local function is_full()
  if math.abs(now_ms - (tonumber(looked_at) or 0)) >= bucket_ms then
    looked_at, full = now_ms, is_nearly_full() and '1' or '0'
    redis.call('HSET', gate, 'looked_at', whole(now_ms), 'full', full)
  end
  return full == '1'
end

-- Who comes late stands behind all who waited: their numbers are lower, also while they are still in the line.
local late, shut_for_all = sold_out == '1', shut()
local queue, before = line, redis.call('ZCARD', line)
if late then queue, before = standby, before + redis.call('ZCARD', standby) end
local room = late and (tonumber(most_in_standby) or 0) - before or math.huge

-- Returns why this user gets no number, or nil; `given` numbers went to those who pressed just before.
local function refusal(user, given)
  if shut_for_all then return shut_for_all end
  if audience ~= '' and redis.call('GETBIT', members, MARK_BYTES * 8 + user) == 0 then return NOT_ELIGIBLE end
  if given >= room then return SOLD_OUT end
  if elsewhere and redis.call('GETBIT', others, MARK_BYTES * 8 + user) == 1 then return OTHER_WAVE end
  if is_full() then return FULL end
end

local decided = redis.call('HMGET', results, unpack(users))
local in_line = redis.call('ZMSCORE', line, unpack(users))
local in_standby = redis.call('ZMSCORE', standby, unpack(users))
local new, place, refused = {}, {}, {}
for i, user in ipairs(users) do
  if not (decided[i] or in_line[i] or in_standby[i] or place[user]) then
    refused[i] = refusal(user, #new)
    if not refused[i] then
      table.insert(new, user)
      place[user] = #new
      if reply[3] == 0 and not late then reply[3] = i end
    end
  end
end

local first
if #new > 0 then
  first = redis.call('HINCRBY', gate, 'last', #new) - #new + 1
  local tickets = {}
  for i, user in ipairs(new) do
    tickets[2 * i - 1], tickets[2 * i] = first + i - 1, user
  end
  redis.call('ZADD', queue, unpack(tickets))
  local bucket = math.floor(now_ms / bucket_ms)
  local ahead_ms = (tonumber(arrived or 0) - bucket) * bucket_ms
  if ahead_ms < 0 or ahead_ms > CATCHES_UP_MS then
    local name = whole(bucket)
    redis.call('HSET', gate, 'arrived', name)
    redis.call('ZADD', arrivals, 'NX', whole(first), name)
  end
  if status ~= 'live' or late or not redis.call('SET', bell, '1', 'NX', 'PX', bell_ms) then reply[3] = 0 end
end

local facts
-- Returns what a refusal says that is signed, the same for all.
local function signed(answer)
  if facts then return facts end
  local known = redis.call('HMGET', gate, 'issued', 'last_issued', 'sold_out_at')
  local since, last, arrived_ms, stands = known[3] or '', '', '', ''
  if answer ~= SOLD_OUT then since = now_ms >= tonumber(closes_at) and closes_at or '' end
  -- While tickets are in line, a batch may be committed and not settled: the last number issued is not known yet.
  if redis.call('EXISTS', line) == 0 then
    last, stands = known[2] or '', redis.call('ZCARD', standby)
    local bucket = redis.call('ZREVRANGEBYSCORE', arrivals, known[2] or 0, '-inf', 'LIMIT', 0, 1)[1]
    if tonumber(bucket) then arrived_ms = whole(bucket * bucket_ms) end
  end
  facts = table.concat({since, last, arrived_ms, known[1], stands}, ':')
  return facts
end

for i, user in ipairs(users) do
  local answer = refused[i]
  if decided[i] then
    tell(reply, DECIDED, 0, 0, decided[i])
  elseif place[user] then
    tell(reply, late and STANDBY or WAITING, first + place[user] - 1, before + place[user] - 1, '')
  elseif in_line[i] then
    tell(reply, WAITING, tonumber(in_line[i]), redis.call('ZRANK', line, user), '')
  elseif in_standby[i] then
    tell(reply, STANDBY, tonumber(in_standby[i]), redis.call('ZRANK', standby, user), '')
  elseif answer == NOT_OPEN then
    tell(reply, NOT_OPEN, 0, 0, opens_at)
  elseif answer == CLOSED or answer == SOLD_OUT then
    tell(reply, results_gone(closes_at, now_ms) and PAST or answer, 0, 0, signed(answer))
  else
    tell(reply, answer, 0, 0, '')
  end
end
return reply
