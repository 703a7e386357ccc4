"""The fast path answers in front of Flask what comes in thousands."""
