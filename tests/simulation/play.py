"""`make simulate`: run seed after seed until so many steps are done; print the shortest history of a violation."""

import argparse
import logging
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hypothesis import HealthCheck, Phase, Verbosity, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from deploy.clusters import Cluster, Watched
from deploy.stores import MariaDB, Valkey
from tests.simulation.edges import BELL
from tests.simulation.machine import Simulation
from tests.simulation.promises import Violation
from tests.simulation.shorten import shortened
from tests.simulation.stories_of_the_sale import Stories
from tests.simulation.world import open_world

RULES_A_RUN, RUNS_A_SEED = 15, 8
LINES = ("one server", "cluster", "watched")
FAST = ("--appendonly", "no")


def one_seed(number: int) -> None:
    """Run the simulation from one seed. Raises Violation."""
    run_state_machine_as_test(
        seed(number)(Stories),
        settings=settings(
            max_examples=RUNS_A_SEED,
            stateful_step_count=RULES_A_RUN,
            database=None,
            deadline=None,
            print_blob=False,
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate],
            verbosity=Verbosity.quiet,
        ),
    )


@contextmanager
def a_world(database: str = "sqlite", lines: str = "one server") -> Iterator[None]:
    """Start private stores, and the world on them."""
    logging.disable(logging.CRITICAL)
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="fc-sim-", dir=memory) as name:
        directory = Path(name)
        with (
            _lines(lines, directory) as (lines_url, server),
            _database(database, directory) as url,
            open_world(url, lines_url, server) as Simulation.world,
        ):
            yield


@contextmanager
def _lines(kind: str, directory: Path) -> Iterator[tuple[str, Valkey]]:
    """Start what holds the line, and yield its address and the server that has it."""
    if kind == "one server":
        with Valkey(directory, options=FAST) as valkey:
            yield valkey.url, valkey
    elif kind == "cluster":
        with Cluster(directory) as nodes:
            yield nodes.url, nodes.master_of(BELL)
    else:
        with Watched(directory) as servers:
            yield servers.url, servers.master


@contextmanager
def _database(database: str, directory: Path) -> Iterator[str]:
    if database == "sqlite":
        yield f"sqlite:///{directory}/simulated.db"
        return
    (directory / "mariadb").mkdir()
    with MariaDB(directory / "mariadb") as store:
        yield store.database("simulated")


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Step the whole system through faults, and judge every step."
    )
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--seed", type=int, help="the first seed; alone, without --steps, only that one")
    parser.add_argument("--database", choices=("sqlite", "mariadb"), default="sqlite")
    parser.add_argument("--lines", choices=LINES, default=LINES[0], help="what holds the lines")
    parser.add_argument("--as-found", action="store_true", help="do not look for the shortest history")
    options = parser.parse_args()
    number, began = options.seed or 1, time.monotonic()
    with a_world(options.database, options.lines):
        while Simulation.steps < options.steps:
            try:
                one_seed(number)
            except Violation as violation:
                steps = Simulation.steps
                print(f"broken after {steps} steps, with seed {number}: {violation.wrong}")
                if options.as_found:
                    raise SystemExit(1) from None
                print(f"the shortest history that breaks it:\n{shortened(violation)}")
                raise SystemExit(f"again: make simulate SEED={number}") from None
            number += 1
    took = time.monotonic() - began
    seeds = number - (options.seed or 1)
    print(
        f"{Simulation.steps} steps over {seeds} seeds: no violation ({Simulation.steps / took:.0f} steps a second)"
    )


if __name__ == "__main__":
    main()
