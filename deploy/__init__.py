"""Starting FirstCome: on one machine with its own stores, or under systemd."""
