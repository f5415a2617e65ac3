"""What the figures were measured on."""

import os
import platform
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from consumer.inference.cpus import available_cpus

# What decides how fast matrices are multiplied, in the order of appearance.
_INSTRUCTION_SETS: Final = ("avx2", "avx512f", "avx_vnni", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8")
_GOVERNOR: Final = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
_CPU_FACTS: Final = Path("/proc/cpuinfo")


def machine_facts(packages: Iterable[str]) -> dict[str, Any]:
    """CPU, cores, memory, system, and the versions of the named packages; a fact that cannot be read is None."""
    facts = _cpu_facts()
    flags = facts.get("flags", "").split()
    return {
        "cpu": facts.get("model name") or platform.processor() or None,
        "cpus": available_cpus(),
        "instruction_sets": [name for name in _INSTRUCTION_SETS if name in flags],
        "governor": _read(_GOVERNOR),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load_average_before": round(os.getloadavg()[0], 2),
        "versions": {name: _version(name) for name in packages},
    }


def _cpu_facts() -> dict[str, str]:
    """The facts of the first CPU that the kernel lists."""
    first = (_read(_CPU_FACTS) or "").split("\n\n", 1)[0]
    return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in first.splitlines())}


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return None


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
