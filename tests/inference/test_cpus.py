import os
from pathlib import Path

import pytest

from consumer.inference.cpus import available_cpus


@pytest.fixture(autouse=True)
def eight_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))


@pytest.mark.parametrize(
    ("membership", "files", "cpus"),
    [
        ("0::/\n", {"cpu.max": "max 100000"}, 8),
        ("0::/\n", {"cpu.max": "200000 100000"}, 2),
        ("0::/\n", {"cpu.max": "150000 100000"}, 2),
        ("0::/\n", {"cpu.max": "10000 100000"}, 1),
        ("0::/\n", {"cpu.max": "6400000 100000"}, 8),
        # A systemd slice above the process's own group holds the quota.
        ("0::/a.slice/b.service\n", {"a.slice/cpu.max": "300000 100000", "a.slice/b.service/cpu.max": "max 100000"}, 3),
        ("0::/../../outside\n", {"cpu.max": "400000 100000"}, 4),
        # v1 inside a container: the path names a host's folder, the quota is at the mount.
        (
            "4:cpu,cpuacct:/docker/x\n1:name=systemd:/\n",
            {"cpu/cpu.cfs_quota_us": "250000", "cpu/cpu.cfs_period_us": "100000"},
            3,
        ),
        ("4:cpu,cpuacct:/\n", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 8),
        ("4:cpu:/pod\n", {"cpu/pod/cpu.cfs_quota_us": "100000", "cpu/pod/cpu.cfs_period_us": "50000"}, 2),
    ],
)
def test_the_quota_of_the_control_group_bounds_the_cpus(
    tmp_path: Path, membership: str, files: dict[str, str], cpus: int
) -> None:
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content + "\n")
    (tmp_path / "membership").write_text(membership)

    assert available_cpus(cgroup_root=tmp_path, membership=tmp_path / "membership") == cpus


def test_without_control_groups_the_affinity_counts(tmp_path: Path) -> None:
    assert available_cpus(cgroup_root=tmp_path, membership=tmp_path / "none") == 8
