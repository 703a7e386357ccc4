"""The processes beside the web: the admission job, the worker that runs it, the sweeper; and the rehearsal."""
