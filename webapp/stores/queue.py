"""RQ's queue of bells."""

from flask import current_app
from rq import Queue
from rq.serializers import JSONSerializer

QUEUE_NAME = "admission"
"""The one RQ queue that a worker listens to. From one queue RQ moves a job to its worker in one step. With several it
pops the job first, and a worker that dies at that moment has lost it."""

SWEEPER_ALIVE_KEY = "sweeper:alive"
"""Exists while a sweeper sweeps."""
JOB_TIMEOUT_S = 30
FAILED_JOB_TTL_S = 3600


def bell_queue() -> Queue:
    """Return the current app's RQ queue of bells."""
    return Queue(QUEUE_NAME, connection=current_app.extensions["bells"], serializer=JSONSerializer)
