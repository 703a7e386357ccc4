"""What a large file of an operator takes to be read, for the benchmarks that import one."""

import io
import resource
import time
from collections.abc import Iterable
from tempfile import TemporaryFile
from typing import NamedTuple

from webapp.sale import uploads
from webapp.sale.uploads import Kind


class Read(NamedTuple):
    """A file that was read and checked, in so many seconds; the peak of the process's memory grew by so many MB."""

    upload_id: int
    seconds: float
    grown_mb: float


def read_file(kind: Kind, coupon_id: int, lines: Iterable[str]) -> Read:
    """Write a file of these lines, and read it as the console does."""
    with TemporaryFile() as file:
        text = io.TextIOWrapper(file, newline="")
        text.writelines(lines)
        text.detach()
        before, began = _peak_mb(), time.perf_counter()
        upload_id = uploads.begin(kind, coupon_id, "file.csv", by=None)
        uploads.read(upload_id, kind, file)
        return Read(upload_id, time.perf_counter() - began, _peak_mb() - before)


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
