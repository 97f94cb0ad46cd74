"""What a process may use of its machine: quotas of nested cgroups, of both versions."""

from __future__ import annotations

from pathlib import Path

import pytest

from claprt.engines import hardware

UNLIMITED = 1 << 20


def quota(root: Path, membership: str) -> int:
    return hardware._quota(root, membership)  # pyright: ignore[reportPrivateUsage]


def limit(group: Path, content: str) -> None:
    group.mkdir(parents=True, exist_ok=True)
    (group / "cpu.max").write_text(content)


def limit_v1(group: Path, quota_us: int, period_us: int = 100_000) -> None:
    group.mkdir(parents=True, exist_ok=True)
    (group / "cpu.cfs_quota_us").write_text(f"{quota_us}\n")
    (group / "cpu.cfs_period_us").write_text(f"{period_us}\n")


@pytest.mark.parametrize("mount", [".", "unified"])
def test_the_smallest_quota_from_the_group_up_counts(tmp_path: Path, mount: str) -> None:
    own = "0::/system.slice/claprt.service\n"
    root = tmp_path / mount
    limit(root / "system.slice" / "claprt.service", "max 100000\n")
    assert quota(tmp_path, own) == UNLIMITED
    limit(root / "system.slice", "600000 100000\n")
    assert quota(tmp_path, own) == 6
    limit(root / "system.slice" / "claprt.service", "150000 100000\n")
    assert quota(tmp_path, own) == 2
    limit(root / "system.slice" / "another.service", "100000 100000\n")
    limit(root / "system.slice" / "claprt.service" / "child", "100000 100000\n")
    assert quota(tmp_path, own) == 2
    limit(root, "50000 100000\n")
    assert quota(tmp_path, own) == 1


@pytest.mark.parametrize(
    ("mount", "controllers"),
    [("cpu", "cpu"), ("cpu,cpuacct", "cpu,cpuacct"), ("cpu", "cpuacct,cpu"), ("cpu", "cpu,cpuacct")],
)
def test_quotas_of_version_1(tmp_path: Path, mount: str, controllers: str) -> None:
    own = f"9:name=systemd:/none\n4:{controllers}:/docker/abc:1\n3:cpuset:/set\n0::/\n"
    limit_v1(tmp_path / mount, -1)
    limit_v1(tmp_path / mount / "docker" / "abc:1", 250_000)
    limit_v1(tmp_path / mount / "set", 100_000)  # the group of another controller
    assert quota(tmp_path, own) == 3
    limit_v1(tmp_path / mount / "docker", 20_000, 10_000)
    assert quota(tmp_path, own) == 2


@pytest.mark.parametrize("own", ["0::/docker/abc\n", "0::/../abc\n", "0::/\n", "nonsense\n\n::\n", ""])
def test_a_root_that_is_the_containers_own_group(tmp_path: Path, own: str) -> None:
    """Whatever path the host has for it."""
    limit(tmp_path / "root", "400000 100000\n")
    limit(tmp_path / "abc", "100000 100000\n")
    assert quota(tmp_path / "root", own) == 4


@pytest.mark.parametrize("content", ["nonsense", "", "100000 0", "100000", "max"])
def test_what_is_no_quota(tmp_path: Path, content: str) -> None:
    limit(tmp_path / "group", content)
    limit(tmp_path, "700000 100000")
    assert quota(tmp_path, "0::/group\n") == 7


def test_this_process_is_asked_for_its_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Path, str]] = []
    monkeypatch.setattr(hardware, "_membership", lambda: "0::/mine\n")
    monkeypatch.setattr(hardware, "_quota", lambda root, own: asked.append((root, own)) or 1)
    assert hardware.default_threads() == 1
    assert asked == [(Path("/sys/fs/cgroup"), "0::/mine\n")]
