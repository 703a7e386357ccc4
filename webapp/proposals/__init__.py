"""The two-person rule: what one person asks for waits as a proposal until another person confirms it."""
