-- Write who may have the coupon: all bits at once, with the mark that makes them count.
--
-- KEYS     1 gate   2 members
-- ARGV     1 epoch   2 audience: the version of which these are the members   3 the bits, one for each user id
-- Returns  1 written; 0, and nothing is changed, when no epoch of that number is open in this run of the server, or the
--          gate has another audience
--
-- A repeat changes nothing.

local gate, members = KEYS[1], KEYS[2]

local known = redis.call('HMGET', gate, 'epoch', 'audience', 'run_id', 'closes_at')
if known[1] ~= ARGV[1] or known[2] ~= ARGV[2] or known[3] ~= RUN then return 0 end
redis.call('SET', members, bits_mark(known[1], known[2]) .. ARGV[3])
keep_until_after(known[4], members)
return 1
