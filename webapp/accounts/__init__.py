"""Accounts and sessions, without pages. Nothing here knows a line."""
