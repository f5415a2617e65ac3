"""`python -m tests.security.bundles.measure`: what the trial of the bundle that ships costs, the median of five."""

import resource
import statistics
import sys
import time

from consumer.inference import bundle

_TRIALS = 5


def main() -> None:
    cpu_s: list[float] = []
    wall_s: list[float] = []
    for _ in range(_TRIALS):
        bundle._tried.clear()
        before, began_s = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        bundle.load_bundle(bundle.default_bundle())
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        wall_s.append(time.monotonic() - began_s)
        cpu_s.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    peak_mb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / 1e6
    sys.stdout.write(
        f"CPU {statistics.median(cpu_s):.2f} s, {statistics.median(wall_s):.2f} s by the clock, peak {peak_mb:.0f} MB\n"
    )


if __name__ == "__main__":
    main()
