"""The rehearsal: a whole drop on the operator's own installation."""
