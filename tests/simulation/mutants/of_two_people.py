"""Guards of what two people decide."""

from tests.simulation.mutants.mutant import Mutant, mutant

RULE, CONFIRMING = "webapp/proposals/rule.py", "webapp/sale/confirming.py"
TWO_PEOPLE, COUPONS = "webapp/sale/two_people.py", "webapp/sale/coupons.py"
SEEN_UNDER_THE_LOCK = (
    (CONFIRMING, "if two_people.seen_of(coupon) != row.seen:", "if False:"),
    (RULE, "if (row.verb, row.seen) != (deed.verb, deed.seen):", "if False:"),
)
OTHERS = "    raise_without_right(connection, by, roles)\n    if row.made_by"
PROPOSERS = "if row.made_by is not None and not _has_one(connection, row.made_by, roles):"

MUTANTS: list[Mutant] = [
    mutant(
        "somebody confirms their own proposal",
        (RULE, "    if by == row.made_by:\n        raise", "    if False:\n        raise"),
    ),
    mutant(
        "nobody looks how old a proposal is", (RULE, "    if row.expires_at <= utcnow():", "    if False:")
    ),
    mutant(
        "nobody compares what a proposal has seen",
        (CONFIRMING, "if BY_TWO[row.verb].seen_now(row) != row.seen:", "if False:"),
        *SEEN_UNDER_THE_LOCK,
    ),
    mutant("what a proposal has seen is compared before the lock alone", *SEEN_UNDER_THE_LOCK),
    mutant("a proposal that was decided is confirmed", (RULE, "if row.decision is not None:", "if False:")),
    mutant(
        "a proposal is not marked as confirmed",
        (
            RULE,
            "    decide(connection, row, CONFIRMED, by=by, done_at=utcnow() if deed.whole else None)\n",
            "",
        ),
    ),
    mutant(
        "the row of a deed names no proposal",
        (COUPONS, "pause_seconds(lock.coupon, changed), **both}", "pause_seconds(lock.coupon, changed)}"),
    ),
    mutant(
        "a confirmation leaves no row",
        (
            RULE,
            'record(connection, "confirm", by=by, coupon=deed.coupon, user=deed.user, after=both)',
            "pass",
        ),
    ),
    mutant(
        "a higher quota waits for nobody",
        (TWO_PEOPLE, "return _gives_more(coupon, changed) or _ends", "return _ends"),
    ),
    mutant(
        "an earlier end waits for nobody",
        (TWO_PEOPLE, "on_sale and utcnow() < end and", "False and"),
    ),
    mutant("who confirms needs no right", (RULE, OTHERS, "    if row.made_by")),
    mutant("who has asked needs no right any more", (RULE, PROPOSERS, "if False:")),
]
