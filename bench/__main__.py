"""`python -m bench [NAME ...] [--write]`: run the benchmarks, all or those that are named, and print their tables."""

import argparse
from collections.abc import Callable, Iterable

from bench import (
    admission,
    balance,
    board,
    claims,
    console,
    costs,
    drop,
    edge,
    exports,
    growth,
    http,
    lists,
    log,
    memory,
    nodes,
    page,
    planned,
    polls,
    pools,
    worker_class,
)
from bench.measure import Table
from bench.stage import Stage, stage

BENCHMARKS: dict[str, Callable[[Stage], Iterable[Table | str]]] = {
    "claims": claims.run,
    "nodes": nodes.run,
    "board": board.run,
    "polls": polls.run,
    "admission": admission.run,
    "lists": lists.run,
    "pools": pools.run,
    "exports": exports.run,
    "log": log.run,
    "console": console.run,
    "memory": memory.run,
    "growth": growth.run,
    "costs": costs.run,
    "worker_class": worker_class.run,
    "balance": balance.run,
    "edge": edge.run,
    "drop": drop.run,
    "planned": planned.run,
}
WITH_WRK = {"claims", "nodes", "board", "lists", "polls", "edge", "growth", "costs", "worker_class"}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure FirstCome on this machine.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"some of {', '.join(BENCHMARKS)}")
    parser.add_argument("--write", action="store_true", help="keep the tables in docs/performance.md")
    options = parser.parse_args()
    names = options.names or list(BENCHMARKS)
    if unknown := set(names) - BENCHMARKS.keys():
        parser.error(f"there is no benchmark {', '.join(sorted(unknown))}")
    if WITH_WRK & set(names) and not http.available():
        parser.error("these benchmarks drive the server with wrk (Debian: wrk); install it first")
    for name in names:
        said = run(name)
        if options.write:
            page.write(name, said)


def run(name: str) -> list[Table | str]:
    """Run one benchmark, print its parts as they come, and return them."""
    said: list[Table | str] = []
    with stage() as built:
        for part in BENCHMARKS[name](built):
            said.append(part)
            print("\n".join(part.lines()) if isinstance(part, Table) else part, flush=True)
    return said


if __name__ == "__main__":
    main()
