"""The log of operators: written by every verb in its own transaction, and read by the console, commands and audit."""

from webapp.log.writing import Entry, record, write

__all__ = ["Entry", "record", "write"]
