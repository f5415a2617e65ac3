"""A bundle's first reading, in a process of its own that has little memory, little time, and nothing to tell.

The libraries that read graphs and tokenizers are not made for enemies: they crash, panic, and take all memory that
there is. There the system ends them, and the bundle is refused; here nothing of it was parsed yet.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

from consumer.inference import limits
from consumer.inference.manifest import BundleError

# What Python and its libraries need to start. No setting, no password and no proxy is among it.
_INHERITED: Final = ("PATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "TMPDIR", "COVERAGE_PROCESS_START")
_MAX_REASON_CHARACTERS: Final = 1_000
_ADVICE: Final = "nothing of it was loaded; export it with `python -m model_export`"


def try_in_quarantine(folder: Path, manifest_sha256: str, model_bytes: int) -> None:
    """Let another process read and run a bundle, and believe it.

    Args:
        folder: the bundle; the hashes of its files were checked.
        manifest_sha256: of its manifest, in hex.
        model_bytes: the size of its graph, which the memory that it may take follows.

    Raises:
        BundleError: it is refused, or the process did not end well.
    """
    memory_bytes = limits.TRIAL_MEMORY_BYTES + limits.TRIAL_MEMORY_PER_MODEL_BYTE * model_bytes
    command = [sys.executable, "-P", "-m", "consumer.inference.trial", str(folder), manifest_sha256, str(memory_bytes)]
    environment = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    # Further threads of numpy's library would each reserve memory.
    environment |= {
        "PYTHONPATH": os.pathsep.join(path or str(Path.cwd()) for path in sys.path),
        "OPENBLAS_NUM_THREADS": "1",
    }
    environment |= {"PYTHONDONTWRITEBYTECODE": "1"}
    try:
        ended = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            timeout=limits.TRIAL_WALL_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise BundleError(f"{folder}: its trial took more than {limits.TRIAL_WALL_S} s; {_ADVICE}") from None
    except OSError as error:
        raise BundleError(f"{folder}: no process could be started to try it in ({error.strerror})") from error
    if ended.returncode == 0:
        return
    try:
        reason = str(json.loads(ended.stdout)["refused"])
    except (ValueError, KeyError, TypeError):
        raise BundleError(f"{folder}: {_how_it_ended(ended.returncode, memory_bytes)}; {_ADVICE}") from None
    # It may quote what the bundle says, which must not speak to a terminal.
    shown = "".join(character if character.isprintable() else " " for character in reason)
    raise BundleError(shown[:_MAX_REASON_CHARACTERS])


def _how_it_ended(code: int, memory_bytes: int) -> str:
    given = f"{limits.TRIAL_CPU_S} s of CPU time and {memory_bytes // 2**20:,} MiB"
    if code >= 0:
        return f"its trial ended with exit code {code}, with {given}"
    return f"its trial was ended by {signal.Signals(-code).name}, with {given}"
