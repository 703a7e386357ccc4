"""Faults: whole systems whose parts are killed, cut off and held up, and a checker of what people were told."""
