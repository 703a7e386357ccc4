"""Deployment: FirstCome on one machine with its own stores, under systemd, behind nginx."""
