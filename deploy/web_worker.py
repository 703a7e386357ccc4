"""gunicorn's gevent worker: comes prepared, goes quietly, takes its share of the connections, answers in one piece."""

import gc
from typing import Any

import gevent
from gevent.server import StreamServer
from gunicorn.http import wsgi
from gunicorn.workers import ggevent

STEP, WAIT_S, MOST_WAIT_S = 4, 0.001, 0.008
"""For every STEP connections that a process holds it waits WAIT_S before it takes another, at most MOST_WAIT_S."""
AT_ONCE = 4
"""Connections that are taken after a wait; more by those who hold many, or a great rush would wait in line."""


class PatientServer(StreamServer):  # type: ignore[misc]
    """Waits the longer with taking a connection the more it holds, so that the process which holds the fewest takes it.

    All processes listen on one socket and whoever wakes up first takes what is there: without this one process takes
    nearly all of the connections that come at once, and keeps them. Count: `make bench ARGS=balance`.
    """

    def _do_read(self) -> None:
        held = self.pool.size - self.pool.free_count()
        self.max_accept = max(AT_ONCE, held // 8)
        wait_s = min(held // STEP * WAIT_S, MOST_WAIT_S)
        if wait_s:
            self.stop_accepting()
            self._timer = self.loop.timer(wait_s)
            self._timer.start(self._take)
        else:
            self._take()

    def _take(self) -> None:
        super()._do_read()
        if not self.full():
            self._start_accepting_if_started()


class WholeResponse(wsgi.Response):  # type: ignore[misc]
    """Sends the head of an answer together with the body, when that comes as one piece, and not as two packets.

    Nearly every answer of ours does. What the whole worker is worth: `make bench ARGS=worker_class`.
    """

    headers_sent: bool

    def write(self, arg: bytes) -> None:
        if self.headers_sent or self._omits_body or len(arg) != self.response_length:
            super().write(arg)
            return
        head = [*self.default_headers(), *(f"{name}: {value}\r\n" for name, value in self.headers), "\r\n"]
        self.headers_sent, self.sent = True, len(arg)
        self.sock.sendall("".join(head).encode("latin-1") + arg)


def prepare(app: Any) -> None:
    """Do before the first visitor what would hold up all of the first, and what would hold up all again and again.

    The first are 40 templates to compile, 0.3 s. The others are full collections of garbage, which look at all that
    the process ever made, 0.1 s each; what it has made by now stays, and is not looked at again.
    """
    for name in app.jinja_env.list_templates() if hasattr(app, "jinja_env") else []:
        app.jinja_env.get_template(name)
    gc.collect()
    gc.freeze()


class QuietWorker(ggevent.GeventWorker):  # type: ignore[misc]
    """Ends a connection that is still open when the graceful timeout is over without a word.

    gunicorn itself answers an idle keep-alive connection with a 500 then, which a browser that sends its next click
    at that moment would take for the answer. A connection that ends is tried again, and the click finds its ticket.
    """

    def load_wsgi(self) -> None:
        super().load_wsgi()
        prepare(self.wsgi)

    def handle_error(self, req: Any, client: Any, addr: Any, exc: BaseException) -> None:
        if not isinstance(exc, gevent.GreenletExit):
            super().handle_error(req, client, addr, exc)


ggevent.StreamServer = PatientServer
wsgi.Response = WholeResponse
