"""Guards of admission, of epochs, of publishing, and of the sweeper."""

from tests.simulation.mutants.mutant import Mutant, mutant

ADMISSION, EPOCHS = "webapp/sale/admission.py", "webapp/sale/epochs.py"
REPLACE = "webapp/line/lua/replace_results.lua"
PUBLISHING, REDEEMING = "webapp/sale/publishing.py", "webapp/sale/redeeming.py"
PAUSING, PAUSE_MESSAGE = "webapp/sale/pausing.py", "webapp/sale/pause_message.py"
RECORDS, PRELUDE = "webapp/sale/records.py", "webapp/line/lua/prelude.lua"
POLICY_WRITTEN = "  if #news > 0 then redis.call('HSET', gate, unpack(news)) end\n"
LOCK = "connection.execute(update(Coupon).where(Coupon.id == coupon_id).values(revision=Coupon.revision + 1))"
HEAD = """    if head is None or not head.sold_out or row.sold_out:
        return head
"""
FIRST_BEGUN = """            epoch, mark = _begin_epoch(lock, line)
            lock.commit()
"""
RESULTS = "    line.replace_results(coupon.revision, known_results(connection, coupon.id), mark=mark)\n"
RECONCILED = "line.replace_results(lock.coupon.revision, known_results(lock.connection, lock.coupon.id))"
FEWER = 'fewer = {"issued_quantity": Coupon.issued_quantity - 1}'

MUTANTS: list[Mutant] = [
    mutant("no lock", ("webapp/sale/locking.py", LOCK, "pass")),
    mutant(
        "the head is read before the lock",
        (
            ADMISSION,
            "    with locked_coupon(coupon_id) as lock:",
            "    early = line.head(BATCH)\n    with locked_coupon(coupon_id) as lock:",
        ),
        (ADMISSION, "head = _head(lock, line)", "head = early"),
    ),
    mutant(
        "standby is overtaken before Redis hears of a raise",
        (ADMISSION, HEAD, "    return head\n"),
    ),
    mutant(
        "nobody looks who has the coupon",
        (ADMISSION, "if look_for_holders or rejected else {}", "if False else {}"),
    ),
    mutant(
        "a revoked coupon is issued again",
        (ADMISSION, "rejected = rejected_among(lock.connection, lock.coupon.id, ids)", "rejected: dict = {}"),
        (REPLACE, "    redis.call('ZREM', line, member)\n    redis.call('ZREM', standby, member)\n", ""),
    ),
    mutant(
        "nobody looks who may",
        (ADMISSION, "barred_among(connection, ids, all_rules=not trusted)", "dict[int, str]()"),
    ),
    mutant("the rest is not moved to standby", (ADMISSION, "batch.left_over = True", "pass")),
    mutant("the quota is not counted down", (ADMISSION, "            remaining -= 1\n", "")),
    mutant(
        "a paused coupon is admitted",
        (ADMISSION, "coupon.status in (DRAFT, PAUSED)", "coupon.status == DRAFT"),
    ),
    mutant(
        "places are dropped at a pause",
        (
            PRELUDE,
            POLICY_WRITTEN,
            POLICY_WRITTEN + "  if ARGV[2] == 'paused' then redis.call('DEL', line) end\n",
        ),
    ),
    mutant(
        "the line hears nothing of what a pause says", (RECORDS, "        pause=gate_text(coupon),\n", "")
    ),
    mutant(
        "a pause begins anew with each message",
        (
            PAUSE_MESSAGE,
            '{} if coupon.status == PAUSED else {"paused_at": utcnow()}',
            '{"paused_at": utcnow()}',
        ),
    ),
    mutant(
        "resuming forgets to extend",
        (PAUSING, "also=_extended if extend else None", "also=None"),
    ),
    mutant(
        "a pause before the start is given back",
        (PAUSING, "max(coupon.paused_at, coupon.issue_start_at)", "coupon.paused_at"),
    ),
    mutant(
        "skipped numbers leave no row",
        (ADMISSION, "    _write_events(connection, coupon.id, batch.events)\n", ""),
    ),
    mutant(
        "the issued quantity is not raised",
        (ADMISSION, '        "issued_quantity": coupon.issued_quantity + len(batch.issues),\n', ""),
    ),
    mutant(
        "results are written before the commit",
        (
            ADMISSION,
            "        lock.commit()\n    line.settle",
            "        line.settle(None, batch.settled)\n        lock.commit()\n    line.settle",
        ),
    ),
    mutant(
        "a batch is committed and not settled",
        (ADMISSION, "    line.settle(policy_of(coupon, changed), batch.settled)\n", ""),
    ),
    mutant(
        "an epoch is open before SQL knows of it",
        (
            EPOCHS,
            FIRST_BEGUN,
            FIRST_BEGUN.replace(
                "lock.commit", "line.open_epoch(mark, grace_ms=GRACE_MS)\n            lock.commit"
            ),
        ),
    ),
    mutant(
        "SQL hears nothing of an epoch",
        (EPOCHS, 'values = {"epoch": epoch, "epoch_mark"', 'values = {"epoch_mark"'),
    ),
    mutant(
        "a begun epoch is known by its number",
        (EPOCHS, "mark = secrets.randbelow(MARKS)", "mark = epoch"),
    ),
    mutant(
        "whoever has lost the lock writes results all the same",
        (
            REPLACE,
            "if not ours then",
            "if false then",
        ),
    ),
    mutant(
        "an epoch does not know the results",
        (
            EPOCHS,
            RESULTS,
            "",
        ),
    ),
    mutant(
        "results are written before the gate of their epoch",
        (EPOCHS, RESULTS, ""),
        (EPOCHS, "    floor = line.begin_epoch(", RESULTS + "    floor = line.begin_epoch("),
        (REPLACE, "if not ours then", "if false then"),
    ),
    mutant("an epoch counts from one", (EPOCHS, "step=EPOCH_STEP if epoch > 1 else 0", "step=0")),
    mutant(
        "an epoch forgets the highest number",
        (EPOCHS, "known=max(coupon.last_number, decided, (epoch - 1) * EPOCH_STEP - 1)", "known=0"),
    ),
    mutant(
        "a line that was lost begins in its first epoch",
        (
            EPOCHS,
            "max(coupon.epoch, survived.epoch if survived and survived.was_opened else 0) + 1",
            "(survived.epoch if survived else 0) + 1",
        ),
    ),
    mutant(
        "an epoch leaves no event",
        (
            EPOCHS,
            "        connection.execute(insert(LineEvent).values(**event",
            "        (insert(LineEvent).values(**event",
        ),
    ),
    mutant("no grace", (EPOCHS, "\nGRACE_MS = ", "\nGRACE_MS = 0  # ")),
    mutant(
        "nothing is published",
        (PUBLISHING, "if not line.publish(policy):", "if not line.is_open():"),
    ),
    mutant(
        "nobody rings again",
        (PUBLISHING, "return bool(coupon.status != PAUSED)", "return False"),
    ),
    mutant(
        "a revoked issue is not settled first",
        (REDEEMING, "    publishing.settle_issue(lock, issue)\n", ""),
    ),
    mutant(
        "a revocation leaves no reason",
        (REDEEMING, "    lock.connection.execute(insert(LineEvent).values(**place, **event))\n", ""),
    ),
    mutant("a revocation gives no coupon back", (REDEEMING, FEWER, FEWER.replace(" - 1", ""))),
    mutant(
        "a used coupon is revoked",
        (
            REDEEMING,
            "CouponIssue.id == issue.id, CouponIssue.used_at.is_(None))\n    if not lock",
            "CouponIssue.id == issue.id)\n    if not lock",
        ),
    ),
    mutant(
        "a revocation is told only once",
        ("jobs/sweeper.py", "    publish_late_revocations()\n", ""),
    ),
    mutant(
        "reconcile keeps what SQL does not know",
        (REPLACE, "    redis.call('HDEL', results, member)\n", ""),
    ),
    mutant(
        "reconcile keeps a gate that does not fit",
        (
            PUBLISHING,
            "if gate is None or not _fits(gate, lock):",
            "if gate is None:",
        ),
    ),
    mutant(
        "reconcile trusts an epoch whose results SQL has forgotten",
        (PUBLISHING, f"return not {RECONCILED}", f"return {RECONCILED} is not None"),
    ),
    mutant(
        "the sweeper forgets a line a week after its end",
        (
            "jobs/sweeper.py",
            "served = or_(Coupon.issue_end_at > since, ",
            "served = or_(Coupon.issue_end_at > since, False, ",
        ),
        ("jobs/sweeper.py", "Coupon.id.in_(_waited_for(left))", "Coupon.id == -1"),
    ),
]
