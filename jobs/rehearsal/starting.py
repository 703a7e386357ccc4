"""The sweeper's part in rehearsals: it starts those that were asked for, and ends those that have to."""

import subprocess
import sys
import time

from deploy.processes import kill_group, spawn
from jobs.rehearsal.rehearsal import clean_up
from webapp.models.rehearsals import ASKED, BROKEN, STOPPED, Rehearsal
from webapp.sale import rehearsing

MOST_S = 600.0
"""The longest that a rehearsal may take."""
CLEANING_S = 60.0
"""How long its process may clean up after it was told to end."""


class Rehearsals:
    """The rehearsal that this sweeper has started, if one is under way; `look` is called once a sweep."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[bytes] | None = None
        self.played: int | None = None
        self.until = self.told_at = 0.0

    def look(self) -> None:
        """Start, stop or bury a rehearsal where it is time to. Raises SQLAlchemyError, redis.RedisError."""
        rehearsal = rehearsing.under_way()
        if self.process is not None:
            # The one under way may be another sweeper's, which began as soon as ours had ended its row.
            ours = rehearsal is not None and rehearsal.id == self.played
            self._watch(self.process, rehearsal if ours else None)
        elif rehearsal is not None:
            self._begin(rehearsal)

    def _begin(self, rehearsal: Rehearsal) -> None:
        if rehearsal.state == ASKED and rehearsal.stop_asked:
            rehearsing.end(rehearsal.id, STOPPED, {})
        elif rehearsing.is_late(rehearsal):
            rehearsing.end(rehearsal.id, BROKEN, {"why": "not started"})
        elif rehearsing.is_silent(rehearsal):
            _bury(rehearsal)
        elif rehearsal.state == ASKED and rehearsing.take(rehearsal.id):
            self.until, self.told_at = time.monotonic() + MOST_S, 0.0
            self.played = rehearsal.id
            self.process = spawn([sys.executable, "-m", "jobs.rehearsal.asked", str(rehearsal.id)])

    def _watch(self, process: subprocess.Popen[bytes], rehearsal: Rehearsal | None) -> None:
        now = time.monotonic()
        if process.poll() is not None:
            self.process = None
            # It ends its row itself, unless it was killed.
            if rehearsal is not None:
                _bury(rehearsal)
        elif self.told_at and now > self.told_at + CLEANING_S:
            kill_group(process)
        elif not self.told_at and (now > self.until or (rehearsal is not None and rehearsal.stop_asked)):
            self.told_at = now
            process.terminate()


def _bury(rehearsal: Rehearsal) -> None:
    """Clean up after a process that died, and end its rehearsal: as stopped, if it was told to stop as it began."""
    clean_up(rehearsal.mark)
    state, report = (STOPPED, {}) if rehearsal.stop_asked else (BROKEN, {"why": "its process died"})
    rehearsing.end(rehearsal.id, state, report)
