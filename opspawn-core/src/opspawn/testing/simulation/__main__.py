"""The simulator as a command: many seeds, or one with its trace.

python -m opspawn.testing.simulation --seeds 20000
python -m opspawn.testing.simulation --seed 4711
"""

from __future__ import annotations

import argparse
import sys
import time

from opspawn.testing.simulation import Report, simulate
from opspawn.testing.simulation.world import STORM_S


def main(arguments: list[str] | None = None) -> int:
    """Return the exit code: 0 if every world ended as promised, else 1."""
    parser = argparse.ArgumentParser(prog="simulate", description="Live through worlds in which everything goes wrong.")
    parser.add_argument("--seeds", type=int, default=500, metavar="N", help="how many worlds (500)")
    parser.add_argument("--first", type=int, default=0, metavar="N", help="the seed of the first of them (0)")
    parser.add_argument("--seed", type=int, metavar="N", help="only this world, with everything that happened in it")
    parser.add_argument("--storm", type=float, default=STORM_S, metavar="S", help="virtual seconds of accidents (50)")
    given = parser.parse_args(arguments)
    if given.seed is not None:
        report = simulate(given.seed, storm_s=given.storm)
        print("\n".join(report.trace))
        return _tell([report])
    if given.seeds < 1:
        parser.error("--seeds needs a number from 1.")
    began = time.monotonic()
    failed, events, faults = [], 0, 0
    for seed in range(given.first, given.first + given.seeds):
        report = simulate(seed, storm_s=given.storm)
        events, faults = events + report.events, faults + report.faults
        if report.broken:
            failed.append(report)
            _tell([report])
    took = time.monotonic() - began
    print(
        f"{given.seeds} worlds with {events} events and {faults} faults in {took:.1f} s: "
        f"{len(failed) or 'none'} of them broke a promise."
    )
    return 1 if failed else 0


def _tell(reports: list[Report]) -> int:
    broken = [report for report in reports if report.broken]
    for report in broken:
        print(f"seed {report.seed} broke {len(report.broken)} promises (again: --seed {report.seed}):")
        for line in report.broken:
            print(f"  {line}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
