"""Guards of who may have a coupon."""

from tests.simulation.mutants.mutant import Mutant, mutant

LUA, LISTS, MEMBERS = "webapp/line/lua/", "webapp/sale/lists.py", "webapp/sale/members.py"
CLAIM, WRITE, MARK = LUA + "claim.lua", LUA + "write_members.lua", LUA + "mark_members.lua"

MUTANTS: list[Mutant] = [
    mutant(
        "a list that Redis has lost lets everybody in",
        (
            CLAIM,
            "if audience == '' then return nil",
            "if audience == '' or redis.call('EXISTS', members) == 0 then return nil",
        ),
    ),
    mutant(
        "a list counts whatever its mark says",
        (
            CLAIM,
            "or mark ~= bits_mark(epoch, audience)",
            "",
        ),
    ),
    mutant(
        "nobody looks at the bit",
        (CLAIM, "redis.call('GETBIT', members, MARK_BYTES * 8 + user) == 0", "false"),
    ),
    mutant(
        "a list of an epoch before counts",
        (LUA + "prelude.lua", "'s', epoch .. ':' .. version)", "'s', version)"),
    ),
    mutant(
        "the bits of another version are taken",
        (WRITE, "known[2] ~= ARGV[2] or ", ""),
    ),
    mutant(
        "a change marks a list that is not whole",
        (
            MARK,
            "if mark ~= bits_mark(known[1], ARGV[1]) and mark ~= bits_mark(known[1], ARGV[2]) then return 0 end",
            "",
        ),
    ),
    mutant(
        "who was removed is admitted",
        ("webapp/sale/admission.py", "outsiders_among(connection, coupon, ids) | ", ""),
    ),
    mutant("a change of the list has no version", (LISTS, '{"audience_version": version + 1, ', "{")),
    mutant(
        "the sweeper forgets lists", (MEMBERS, "        _write_passing_over(coupon.id)\n", "        pass\n")
    ),
]
