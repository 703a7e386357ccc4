"""The verbs of the log: what an operator, a command or a job can decide."""

STEPS = ("publish", "pause", "resume", "close")
VERBS = (
    *("create coupon", "duplicate coupon", "change coupon", "change quota", *STEPS),
    *("write texts", "set picture", "make waves", "roll over", "archive", "unarchive"),
    *("set audience", "count list", "withdraw list", "add person", "remove person"),
    *("count codes", "withdraw codes", "count members", "set member"),
    *("ask for rehearsal", "stop rehearsal"),
    *("undo use", "revoke"),
    "export",
    *("block", "unblock"),
    *("create account", "set password", "rename account", "delete account", "anonymise"),
    *("grant role", "invite", "withdraw invitation", "take invitation"),
    *("propose", "confirm", "decline", "withdraw"),
)
"""In the order in which the console offers them."""
