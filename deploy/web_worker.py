"""gunicorn's gevent worker, which goes quietly."""

from typing import Any

import gevent
from gunicorn.workers.ggevent import GeventWorker


class QuietWorker(GeventWorker):  # type: ignore[misc]
    """Ends a connection that is still open when the graceful timeout is over without a word.

    gunicorn itself answers an idle keep-alive connection with a 500 then, which a browser that sends its next click
    at that moment would take for the answer. A connection that ends is tried again, and the click finds its ticket.
    """

    def handle_error(self, req: Any, client: Any, addr: Any, exc: BaseException) -> None:
        if not isinstance(exc, gevent.GreenletExit):
            super().handle_error(req, client, addr, exc)
