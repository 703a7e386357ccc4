"""The simulation: a machine steps every actor through the real scripts and statements, with faults at any step."""
