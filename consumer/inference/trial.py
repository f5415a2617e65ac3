"""The process in which a bundle is read for the first time: `quarantine` starts it.

It limits itself, checks all that is not hashes, runs the graph on every kind of batch, and says in one line of JSON
what is wrong. Exit code 0: nothing is.
"""

import json
import resource
import signal
import sys
from pathlib import Path

from consumer.inference import limits


def main(folder: Path, manifest_sha256: str, memory_bytes: int) -> int:
    """Limit this process, then try the bundle; returns the exit code."""
    _limit_this_process(memory_bytes)
    from consumer.inference.manifest import BundleError  # noqa: PLC0415 (what is imported is limited too)
    from consumer.inference.trial_checks import try_bundle  # noqa: PLC0415

    try:
        try_bundle(folder, manifest_sha256)
    except BundleError as error:
        reason = str(error)
    except MemoryError:
        reason = f"{folder}: it takes more than {memory_bytes // 2**20:,} MiB, more than a bundle of its size needs"
    else:
        return 0
    sys.stdout.write(json.dumps({"refused": reason}))
    return 1


def _limit_this_process(memory_bytes: int) -> None:
    for what, most in (
        (resource.RLIMIT_CPU, limits.TRIAL_CPU_S),
        (resource.RLIMIT_DATA, memory_bytes),
        (resource.RLIMIT_FSIZE, 0),  # it writes no file
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(what)[1]
        resource.setrlimit(what, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))
    # Whoever waits for it may be gone: it ends by itself.
    signal.alarm(limits.TRIAL_WALL_S)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
