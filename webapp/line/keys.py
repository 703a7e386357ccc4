"""One coupon's line in Redis: what each key holds. Their names are made in webapp.line.line.

Keys of the line of coupon 7, all on one node of a cluster by their hash tag:

    {coupon:7}:gate      hash    epoch, revision, status, quota, issued, opens_at, closes_at (ms), last (number
                                 given), serving (highest number decided), last_issued (highest number that was
                                 issued a coupon), sold_out (0 or 1), sold_out_at (ms), standby_limit (places
                                 in standby for who comes late), floor (this epoch's numbers are
                                 above it), arrived (last bucket of the arrivals),
                                 looked_at (ms, when a claim last looked at the memory), full (0 or 1, what it saw),
                                 heard (a number that a receipt proved and the counter did not know),
                                 first_opens_at, last_closes_at (ms: the widest period that this gate had),
                                 begun (run id of the server that began this epoch), renamed to run_id when the epoch
                                 is open; without both the epoch has ended,
                                 mark (of the beginning, until the epoch is open: SQL knows it once it is committed),
                                 grace_from and grace_until (ms between which admission waits for receipts; 0
                                 when that is over),
                                 audience: the version of who may have the coupon, "" for everybody,
                                 pause: what a pause says and promises (JSON), "" for nothing,
                                 elsewhere: the version of the other waves; with it claims look at the bits
    {coupon:7}:line      zset    user id -> number: the tickets that wait;
                                 "<user id>:<number>" -> number: given up by a user who has a lower one again
    {coupon:7}:standby   zset    user id -> number: the tickets that waited when the quota ran out, and behind
                                 them those that came later, up to standby_limit in all
    {coupon:7}:results   hash    user id -> "issued:<number>:<code>" or "rejected:<number>:<reason>"; it leaves Redis
                                 RESULTS_KEPT_MS after the end, and so do the arrivals
    {coupon:7}:bell      string  set when a bell is rung, until an admission begins, BELL_MS at most
    {coupon:7}:arrivals  zset    bucket of BUCKET_MS (epoch ms // BUCKET_MS) -> first ticket number given in it;
                                 "unknown:<floor>" -> first number below that floor that may be given and forgotten
    {coupon:7}:late      zset    user id -> number: the tickets that were restored after the wait for receipts
    {coupon:7}:members   string  who may have it: a mark of MARK_BYTES, then a bit for each user id. The mark is
                                 "<epoch>:<audience>" and spaces. It is written together with the bits, and they count
                                 only where it names epoch and audience of the gate; it leaves as the results do
    {coupon:7}:elsewhere string  who has one of another wave of a campaign that gives one each: a mark as that of the
                                 members, with the version of the other waves, then a bit for each user id
    {coupon:7}:turnout   hash    name of a web process -> "<times told>:<ms>:<pages that poll>:<polls a second>"; it
                                 leaves Redis seconds after the last word
    {coupon:7}:refused   hash    code of a refusal -> clicks that got no number; it leaves as the results do
    {coupon:7}:shown     hash    user id -> "<epoch>:<ms>": when a page first told them what was decided, and in which
                                 epoch that was noted; it leaves as the results do, or as long after the last note
    {coupon:7}:malformed list    malformed data that was found in the keys above, the newest first

Each script in `lua/` states its own contract in its header.
"""

BELL_MS = 5000
BUCKET_MS = 100
"""The precision of an arrival's time: at most ten entries a second, however many people come."""
RESULTS_KEPT_MS = 30 * 24 * 3600 * 1000
"""How long after the end results and arrivals stay in Redis; then SQL answers. `lua/prelude.lua` knows it too."""
MARK_BYTES = 32
"""In front of the bits of the members. `lua/prelude.lua` knows it too."""
MOST_USER = 2**32 - 8 * MARK_BYTES
"""No bit of a string stands farther away; the bits of a user id above it are not kept."""
MOST_NUMBER = 2**52
"""No ticket's number is as high. Above 2**53 a sorted set would not tell one number from the next."""
