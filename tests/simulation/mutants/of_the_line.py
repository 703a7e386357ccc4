"""Guards of the scripts."""

from tests.simulation.mutants.mutant import Mutant, mutant

LUA = "webapp/line/lua/"
CLAIM, SETTLE, RESTORE = LUA + "claim.lua", LUA + "settle_batch.lua", LUA + "restore_ticket.lua"
PUBLISH, BEGIN, OPEN = LUA + "publish.lua", LUA + "begin_epoch.lua", LUA + "open_epoch.lua"
TOGETHER, POOL = "webapp/line/together.py", "webapp/stores/pool.py"
HEAD, STANDING, PRELUDE = LUA + "read_head.lua", LUA + "read_standing.lua", LUA + "prelude.lua"

MUTANTS: list[Mutant] = [
    mutant(
        "a click is answered by a gate of another run",
        (CLAIM, "if not epoch or run_id ~= RUN then", "if not epoch then"),
    ),
    mutant(
        "a poll is answered by a gate of another run",
        (STANDING, "if not known[1] or known[2] ~= RUN then", "if not known[1] then"),
    ),
    mutant("a click forgets results", (CLAIM, "if not (decided[i] or in_line", "if not (in_line")),
    mutant(
        "a click forgets who is in line",
        (CLAIM, "or in_line[i] or in_standby[i] or place", "or in_standby[i] or place"),
    ),
    mutant(
        "a click forgets who is in standby",
        (CLAIM, "or in_standby[i] or place", "or place"),
    ),
    mutant(
        "who presses twice in one call gets two numbers",
        (CLAIM, "or in_standby[i] or place[user]) then", "or in_standby[i]) then"),
    ),
    mutant(
        "the clicks of one call are numbered from the last",
        (TOGETHER, "gathering.append(seat)", "gathering.insert(0, seat)"),
    ),
    mutant(
        "the answers of one call are handed out in another order",
        (TOGETHER, "zip(batch, answers, strict=True)", "zip(batch, reversed(answers), strict=True)"),
    ),
    mutant(
        "the lead of those who travel together is forgotten",
        (TOGETHER, "self._hand_over(coupon_id, seat.batch[1:])", "pass"),
    ),
    mutant(
        "nobody rings for a call of many clicks",
        (
            CLAIM,
            "if reply[3] == 0 and not late then reply[3] = i end",
            "if #users == 1 and not late then reply[3] = 1 end",
        ),
    ),
    mutant(
        "a lost answer is counted twice",
        (
            CLAIM,
            "or in_line[i] or in_standby[i] or place",
            "or (#users == 1 and in_line[i]) or in_standby[i] or place",
        ),
    ),
    mutant(
        "a connection keeps the run of the server before",
        (POOL, 'self.made_in, self.run_id = self.pool.generation, ""', "self.made_in = self.pool.generation"),
    ),
    mutant("a click before the start", (CLAIM, "if now_ms < tonumber(opens_at) then", "if false then")),
    mutant(
        "a click after the end",
        (CLAIM, "if now_ms >= tonumber(closes_at) then return", "if false then return"),
    ),
    mutant(
        "the end belongs to the period",
        (
            CLAIM,
            "if now_ms >= tonumber(closes_at) then return",
            "if now_ms > tonumber(closes_at) then return",
        ),
    ),
    mutant("a click when it is closed", (CLAIM, "if status == 'closed' then", "if false then")),
    mutant(
        "a click when it is sold out",
        (
            CLAIM,
            "local late, shut_for_all = sold_out == '1', shut()",
            "local late, shut_for_all = false, shut()",
        ),
    ),
    mutant(
        "a late comer stands in the line",
        (CLAIM, "if late then queue, before = standby,", "if late then queue, before = line,"),
    ),
    mutant(
        "a late comer stands before standby",
        (
            CLAIM,
            "tickets[2 * i - 1], tickets[2 * i] = first + i - 1, user",
            "tickets[2 * i - 1], tickets[2 * i] = late and 0 or first + i - 1, user",
        ),
    ),
    mutant(
        "standby takes any number of late comers",
        (CLAIM, "if given >= room then return SOLD_OUT end", ""),
    ),
    mutant(
        "a gate that is sold out knows no limit of standby",
        (PRELUDE, "'standby_limit', 'audience',", "'forgotten', 'audience',"),
    ),
    mutant(
        "the counter is the length of the line",
        (CLAIM, "redis.call('HINCRBY', gate, 'last', #new) - #new + 1", "redis.call('ZCARD', line) + 1"),
    ),
    mutant(
        "a ticket leaves whatever its number",
        (SETTLE, "if score and tonumber(score) == numbers[i] then", "if score then"),
    ),
    mutant(
        "a late settle puts a revoked coupon back",
        (SETTLE, "if string.match(standing[i] or '', '^rejected:(%d+)') ~= issued then", "if true then"),
    ),
    mutant("a settled batch has no results", (SETTLE, "if #won > 0 then", "if false then")),
    mutant("settled tickets stay in line", (SETTLE, "if #gone > 0 then", "if false then")),
    mutant(
        "a late settle puts the gate back",
        (SETTLE, "if revision > tonumber(known[1]) then", "if revision > 0 then"),
    ),
    mutant(
        "a late publishing puts the gate back",
        (PUBLISH, "if tonumber(ARGV[1]) < tonumber(known[1]) then return 0 end", ""),
    ),
    mutant(
        "a gate of another run is published to",
        (PUBLISH, "or known[2] ~= RUN then", "then"),
    ),
    mutant(
        "standby is forgotten when coupons come back",
        (PRELUDE, "    bring_standby_back(line, standby)\n", ""),
    ),
    mutant(
        "standby takes the place of the line when coupons come back",
        (PRELUDE, "if redis.call('EXISTS', line) == 0 then", "if true then"),
    ),
    mutant(
        "the line goes to standby while coupons are left",
        (LUA + "move_to_standby.lua", "if redis.call('HGET', gate, 'sold_out') ~= '1' then return 0 end", ""),
    ),
    mutant(
        "the line takes the place of standby",
        (LUA + "move_to_standby.lua", "if redis.call('EXISTS', standby) == 0 then", "if true then"),
    ),
    mutant(
        "an open epoch is begun again",
        (BEGIN, "if known[1] == RUN then return -1 end", ""),
    ),
    mutant(
        "an epoch is open as soon as it is begun",
        (BEGIN, "'begun', RUN, 'mark'", "'run_id', RUN, 'mark'"),
        (BEGIN, "redis.call('HDEL', gate, 'run_id', 'heard'", "redis.call('HDEL', gate, 'heard'"),
    ),
    mutant(
        "an epoch is opened that was begun in another run",
        (OPEN, "if known[1] ~= mark or known[2] ~= RUN then", "if known[1] ~= mark then"),
    ),
    mutant(
        "admission does not wait for receipts",
        (HEAD, "if not awaits_receipts(gate) then", "if true then"),
    ),
    mutant(
        "the head of a gate of another run is read",
        (HEAD, "if not known[1] or known[3] ~= RUN then", "if not known[1] then"),
    ),
    mutant(
        "a wait in the gate can be far away",
        (PRELUDE, "if now_ms < from then", "if false then"),
    ),
    mutant(
        "a clock that is put back ends the wait for receipts",
        (PRELUDE, "if now_ms >= till or", "if now_ms >= till or now_ms < from or"),
    ),
    mutant(
        "a wait that is over goes on when the clock is put back",
        (PRELUDE, "redis.call('HSET', gate, 'grace_from', 0, 'grace_until', 0)", ""),
    ),
    mutant(
        "a bell can live for long",
        (LUA + "ring_bell.lua", "if life_ms ~= -2 and life_ms <= bell_ms then", "if life_ms ~= -2 then"),
    ),
    mutant(
        "a receipt takes a number that somebody has",
        (RESTORE, "if redis.call('ZCOUNT', each, ARGV[2], ARGV[2]) > 0 then return held end", ""),
    ),
    mutant(
        "a receipt wins no number back",
        (RESTORE, "if number > (receipt_epoch == epoch and last or floor) then", "if true then"),
    ),
    mutant(
        "a receipt does not move down",
        (RESTORE, "if queue and held[3] <= number then", "if queue then"),
    ),
    mutant(
        "a receipt counts more than a result",
        (RESTORE, "if result then return", "if false then return"),
    ),
    mutant(
        "a receipt is taken by a gate of another run",
        (RESTORE, "if not known[1] or known[5] ~= RUN then", "if not known[1] then"),
    ),
    mutant(
        "a revocation replaces whatever stands there",
        (LUA + "revoke.lua", "if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end", ""),
    ),
]
