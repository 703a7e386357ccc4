-- Change some bits of those who may have the coupon, and the mark if the audience has changed by just these.
--
-- KEYS     1 gate   2 members
-- ARGV     1 audience: the version that the members in Redis must be of   2 the version that they are of afterwards,
--          which must be that of the gate; then for each user id, bit (0 or 1)
-- Returns  1 changed; 0, and nothing is changed, when the members are not whole, or of another epoch or version
--
-- A repeat changes nothing.

local gate, members = KEYS[1], KEYS[2]

local known = redis.call('HMGET', gate, 'epoch', 'audience', 'run_id')
if not known[1] or known[2] ~= ARGV[2] or known[3] ~= RUN then return 0 end
local mark = redis.call('GETRANGE', members, 0, MARK_BYTES - 1)
if mark ~= bits_mark(known[1], ARGV[1]) and mark ~= bits_mark(known[1], ARGV[2]) then return 0 end
for i = 3, #ARGV, 2 do redis.call('SETBIT', members, MARK_BYTES * 8 + ARGV[i], ARGV[i + 1]) end
redis.call('SETRANGE', members, 0, bits_mark(known[1], ARGV[2]))
return 1
