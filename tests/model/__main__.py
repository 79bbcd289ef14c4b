"""Explore from a seed, for certain promises: ``PYTHONPATH=operator:tests python -m model --seed 1 --invariants I3``."""

import argparse
import sys
import time

from model.explore import explore
from model.judge import PROMISES, Broken
from model.run import Counts, real_server


def main() -> int:
    """1: a promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m model")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--invariants", default=",".join(PROMISES), help="promises, or how their names begin: I3,I5a")
    given = parser.parse_args()
    counts, began = Counts(), time.perf_counter()
    with real_server() as network:
        try:
            explore(network, given.seed, given.steps, given.invariants.split(","), counts)
        except Broken as broken:
            print(broken)
    seconds = time.perf_counter() - began
    print(f"seed {given.seed}: first {counts.first or 'nothing'}; {seconds:.0f} s in all")
    return 1 if counts.first else 0


if __name__ == "__main__":
    sys.exit(main())
