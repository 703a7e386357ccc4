"""RQ's queue of bells."""

import re

from flask import current_app
from rq import Queue
from rq.serializers import JSONSerializer

QUEUE_NAME = "admission"
"""The one RQ queue that a worker listens to. From one queue RQ moves a job to its worker in one step. With several it
pops the job first, and a worker that dies at that moment has lost it."""

SWEEPER_ALIVE_KEY = "sweeper:alive"
"""Exists while a sweeper sweeps."""
MOST_BELLS = 100
"""The most jobs in the queue, whatever happens: a worker does them in a second or two. The oldest go first."""
BELL_TTL_S = 60
"""How long a job waits for a worker. The bell of its line has expired long before, so the sweeper has rung again."""
BELL_ID = re.compile(r"(\d+)-[0-9a-f]{32}")
"""The id of a job begins with the id of its coupon, so that a worker takes all jobs of a line at once."""
JOB_TIMEOUT_S = 30
FAILED_JOB_TTL_S = 3600


def bell_queue() -> Queue:
    """Return the current app's RQ queue of bells."""
    return Queue(QUEUE_NAME, connection=current_app.extensions["bells"], serializer=JSONSerializer)
