"""gunicorn's gevent worker with five changes: docs/adr/0001-gevent.md gives the reasons."""

import gc
from typing import Any

import gevent
from gevent.server import StreamServer
from gunicorn.http import wsgi
from gunicorn.workers import ggevent

STEP, WAIT_S, MOST_WAIT_S = 4, 0.001, 0.008
"""A process waits WAIT_S for every STEP connections that it holds before it takes another, at most MOST_WAIT_S."""
AT_ONCE = 4
"""How many connections are taken after a wait; a process that holds many takes more, or a great rush would queue."""


class PatientServer(StreamServer):  # type: ignore[misc]
    """A server that waits the longer before it takes a connection, the more it holds already.

    So the process with the fewest connections takes the next one. All processes listen on one socket, and the first to
    wake up takes all that wait there. Without the pause one process takes nearly all connections that come at once, and
    keeps them. Count: `make bench ARGS=balance`.
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
    """A response that sends head and body as one packet, if the body comes in one piece, as nearly every one does.

    gunicorn sends two. The gain of the whole worker: `make bench ARGS=worker_class`.
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
    """Compile the templates, connect to Redis, and have the garbage collector leave out all present objects.

    40 templates take 0.3 s, which would hold up the first visitors. A full collection of garbage would look at all
    objects each time, 0.1 s that hold up everybody; the present ones stay, so nothing is lost if it skips them.
    """
    for name in app.jinja_env.list_templates() if hasattr(app, "jinja_env") else []:
        app.jinja_env.get_template(name)
    if "line" in getattr(app, "extensions", ()):
        from webapp.stores import open_connections  # not before gevent has patched the process

        open_connections(app)
    gc.collect()
    gc.freeze()


class QuietWorker(ggevent.GeventWorker):  # type: ignore[misc]
    """A worker that closes connections without an answer when the graceful timeout is over.

    gunicorn itself answers an idle keep-alive connection with a 500 then. A browser that sends its next click at that
    moment would take it for the answer. After a closed connection it tries again, and the click finds its ticket.
    """

    def load_wsgi(self) -> None:
        super().load_wsgi()
        prepare(self.wsgi)

    def handle_error(self, req: object, client: object, addr: object, exc: BaseException) -> None:
        if not isinstance(exc, gevent.GreenletExit):
            super().handle_error(req, client, addr, exc)


ggevent.StreamServer = PatientServer
wsgi.Response = WholeResponse
