"""Guards of codes of a shop's own."""

from tests.simulation.mutants.mutant import Mutant, mutant

DRAWING, POOLS, COUPONS = "webapp/sale/drawing.py", "webapp/sale/pools.py", "webapp/models/coupons.py"
FEWER = 'fewer = {"issued_quantity": Coupon.issued_quantity - 1}'
GIVEN_BACK = ', "pool_left": Coupon.pool_left + 1, "pool_line": Coupon.pool_line - 1}'
TAKEN = 'return {"pool_left": self.left - count, **moved}'
WITHOUT_POOL = "    if pool_left is None:\n        return quota\n"

MUTANTS: list[Mutant] = [
    mutant("the cursor of a pool is not moved", (DRAWING, TAKEN, 'return {"pool_left": self.left - count}')),
    mutant("the codes of a pool are not counted down", (DRAWING, TAKEN, "return moved")),
    mutant("a pool begins anew with each batch", (DRAWING, "PoolCode.line > after", "PoolCode.line > 0")),
    mutant(
        "a pool is given out from its end",
        (DRAWING, ".order_by(PoolCode.line)", ".order_by(PoolCode.line.desc())"),
    ),
    mutant("a revoked code is given again", ("webapp/sale/redeeming.py", FEWER, FEWER[:-1] + GIVEN_BACK)),
    mutant("a dry pool is not sold out", (COUPONS, WITHOUT_POOL, "    return quota\n")),
    mutant(
        "codes that are added do not count",
        (POOLS, "(lock.coupon.pool_left or 0) + upload.good", "lock.coupon.pool_left or 0"),
    ),
    mutant(
        "a file leaves the pool although its codes were given",
        (POOLS, "if not is_untouched(lock.coupon, upload):", "if False:"),
    ),
    mutant(
        "a pool begins beside codes of ours",
        (POOLS, "if has_given_ours(coupon, lock.connection):", "if False:"),
    ),
    mutant(
        "without a file codes of ours are drawn",
        (POOLS, "last = lock.coupon.status == DRAFT and not files", "last = not files"),
    ),
]
