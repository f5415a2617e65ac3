"""How many CPUs this process may really use: a container's quota, not the host's core count."""

import math
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Final

_CGROUP_ROOT: Final = Path("/sys/fs/cgroup")
_MEMBERSHIP: Final = Path("/proc/self/cgroup")


def available_cpus(*, cgroup_root: Path = _CGROUP_ROOT, membership: Path = _MEMBERSHIP) -> int:
    """Count the CPUs that this process may use at the same time, at least 1.

    The smaller of the scheduler affinity (cpuset) and the CPU quota, rounded up, of the process's control group and of
    every group above it: `cpu.max` (cgroup v2) or `cpu.cfs_quota_us` / `cpu.cfs_period_us` (v1).

    Args:
        cgroup_root: where the control group file systems are mounted.
        membership: the file of the form of `/proc/self/cgroup`, lines of `id:controllers:path`.
    """
    quotas = [quota for folder in _group_folders(cgroup_root, membership) if (quota := _quota_cpus(folder)) is not None]
    limit = math.ceil(min(quotas)) if quotas else math.inf
    return max(1, int(min(len(os.sched_getaffinity(0)), limit)))


def _group_folders(cgroup_root: Path, membership: Path) -> Iterator[Path]:
    """The folders of the process's groups and all above them, which inside a container end at the mount."""
    yield cgroup_root
    yield cgroup_root / "cpu"
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        mount = cgroup_root / "cpu" if controllers else cgroup_root
        group = PurePosixPath(path).relative_to("/")
        if ".." not in group.parts:  # a group outside this process's cgroup namespace has no folder here
            yield from (mount / part for part in (group, *group.parents))


def _quota_cpus(folder: Path) -> float | None:
    try:
        quota, period = (folder / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            quota = (folder / "cpu.cfs_quota_us").read_text().strip()
            period = (folder / "cpu.cfs_period_us").read_text().strip()
        except OSError:
            return None
    if quota in {"max", "-1"}:
        return None
    return int(quota) / int(period)
