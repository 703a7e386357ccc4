"""What runs beside the web: the admission job, the worker that runs it, the sweeper, the rehearsal."""
