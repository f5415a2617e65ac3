"""What the exporting CPU can do, for whoever compares figures of two machines."""

from pathlib import Path
from typing import Final

_CPU_INFO: Final = Path("/proc/cpuinfo")
# int8 products without a 16-bit sum in between: Intel's and AMD's names, and Arm's.
_VNNI_FLAGS: Final = frozenset({"avx512_vnni", "avx_vnni", "asimddp", "i8mm"})


def has_vnni(cpu_info: Path = _CPU_INFO) -> bool | None:
    """Whether the CPU multiplies full-range int8 without overflow; None where the system does not say.

    Args:
        cpu_info: a file of the form of Linux's `/proc/cpuinfo`.
    """
    try:
        lines = cpu_info.read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    for line in lines:
        name, _, value = line.partition(":")
        if name.strip() in {"flags", "Features"}:
            return not _VNNI_FLAGS.isdisjoint(value.split())
    return None
