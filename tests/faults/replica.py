"""A replica that takes the place of a site's Redis."""

from typing import Self

from deploy.processes import free_port
from deploy.stores import Valkey
from tests.faults.proxy import Proxy
from tests.faults.site import Site
from webapp.stores.script_redis import line_redis


class Replica:
    """A replica of a site's Redis, reached through a proxy of its own. The site stops it, once it took over."""

    def __init__(self, site: Site) -> None:
        self.link = Proxy(site.valkey.port)
        self.site, self.first = site, site.valkey

    def __enter__(self) -> Self:
        self.link.start()
        directory = self.site.directory / "replica"
        directory.mkdir()
        options = ["--replicaof", "127.0.0.1", str(self.link.port), *self.site.valkey.options]
        self.valkey = Valkey(directory, port=free_port(), options=options, program=self.site.valkey.program)
        self.valkey.start()
        return self

    def __exit__(self, *_: object) -> None:
        for store in (self.valkey, self.first):
            if self.site.valkey is not store:
                store.stop()
        self.link.stop()

    def hears(self) -> bool:
        """Whether it has all that was written before this."""
        line_redis().incr("heard")
        return bool(line_redis().wait(1, 100))

    def hear_no_more(self) -> None:
        self.link.refuse()
