"""Guards of one for each person over all waves, and of what a line knows of the other waves."""

from tests.simulation.mutants.mutant import Mutant, mutant

ADMISSION, LINE = "webapp/sale/admission.py", "webapp/line/line.py"
CLAIM = "webapp/line/lua/claim.lua"
TOLD = "return bool(pipe.execute() == [version, _bits_mark(epoch, version)])"
ASKED = "if elsewhere and redis.call('GETBIT', others, MARK_BYTES * 8 + user) == 1 then"
FIRST = "if not (decided[i] or in_line[i]"

MUTANTS: list[Mutant] = [
    mutant(
        "nobody looks who has one of another wave",
        (ADMISSION, " | holders_elsewhere(connection, coupon, ids)", ""),
    ),
    mutant(
        "the constraint over all waves does not see an issue",
        (ADMISSION, '{coupon.campaign_id:d}" if coupon.one_per_campaign else', 'NULL" if True else'),
    ),
    mutant("a click does not ask who has one of another wave", (CLAIM, ASKED, "if false then")),
    mutant(
        "who waits and has one of another wave is refused",
        (CLAIM, FIRST, ASKED + " refused[i], in_line[i] = OTHER_WAVE, nil end\n  " + FIRST),
    ),
    mutant("a bit of another wave is never taken away", (LINE, TOLD, "return bool(pipe.execute()[0])")),
    mutant(
        "bits of other waves that Redis lost stay lost",
        (LINE, TOLD, "return bool(pipe.execute()[0] == version)"),
    ),
    mutant(
        "the sweeper forgets the other waves",
        ("jobs/sweeper.py", "            write_elsewhere(wave)\n", "            pass\n"),
    ),
]
