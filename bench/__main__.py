"""`python -m bench [NAME ...]`: run the benchmarks, all of them or those that are named, and print their tables."""

import sys

from bench import admission, claims, drop, http, memory
from bench.stage import stage

BENCHMARKS = {"claims": claims.run, "admission": admission.run, "memory": memory.run, "drop": drop.run}


def main() -> None:
    names = sys.argv[1:] or list(BENCHMARKS)
    if unknown := set(names) - BENCHMARKS.keys():
        raise SystemExit(
            f"there is no benchmark {', '.join(sorted(unknown))}; there are {', '.join(BENCHMARKS)}"
        )
    if "claims" in names and not http.available():
        raise SystemExit("the benchmark of claims drives the server with wrk (Debian: wrk); install it first")
    for name in names:
        with stage() as built:
            for line in BENCHMARKS[name](built):
                print(line, flush=True)


if __name__ == "__main__":
    main()
