"""The rules that starting a stack would show only by chance."""

import os
import shutil
import socket
from pathlib import Path

import psutil
import pytest

from devstack import ports, processes
from devstack.errors import DevstackError
from devstack.jars import cache_directory, ensure_jars, locked_jars
from devstack.java import find_java
from devstack.processes import ProcessRecord
from devstack.stack import Stack


def fake_java(home: Path, version: str) -> Path:
    java = home / "bin" / "java"
    java.parent.mkdir(parents=True)
    java.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\"' >&2\n")
    java.chmod(0o755)
    return java


def test_an_installed_java_is_used_when_it_is_new_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = fake_java(tmp_path / "old", "1.8.0_402")
    new = fake_java(tmp_path / "new", "17.0.15")
    monkeypatch.setenv("JAVA_HOME", str(old.parent.parent))
    monkeypatch.setenv("PATH", f"{new.parent}:/usr/bin:/bin")
    assert find_java().executable == new


def test_without_a_new_enough_java_the_packaged_one_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = fake_java(tmp_path / "old", "11.0.2")
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", f"{old.parent}:/nowhere")
    java = find_java()
    assert java.executable != old
    assert java.major_version >= 17


def test_a_damaged_jar_is_never_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ensure_jars(lambda _done, _all: None)
    copy = tmp_path / "feedback-stream" / "jars"
    shutil.copytree(cache_directory(), copy)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    # Port 9 is closed: whoever needs the network fails.
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    assert len(ensure_jars(lambda _done, _all: None)) == len(locked_jars())

    damaged = next(jar for jar in locked_jars() if jar.artifact == "kafka-clients")
    (copy / f"kafka-clients-{damaged.version}.jar").write_bytes(b"cut off")
    with pytest.raises(DevstackError, match=damaged.coordinate):
        ensure_jars(lambda _done, _all: None)


def test_a_taken_port_is_replaced_and_a_free_one_kept() -> None:
    free, taken = ports.choose(2)
    with socket.create_server((ports.HOST, taken)):
        kept, replaced = ports.keep_or_replace([free, taken])
    assert kept == free
    assert replaced not in {free, taken}


def test_a_process_that_took_over_an_id_is_left_alone(tmp_path: Path) -> None:
    mine = ProcessRecord(os.getpid(), psutil.Process().create_time())
    mine.save(tmp_path / "process.json")
    assert ProcessRecord.load(tmp_path / "process.json") == mine
    assert mine.find() is not None

    earlier = ProcessRecord(os.getpid(), mine.started_at - 3600)
    assert earlier.find() is None
    processes.kill(earlier)  # This test would not survive it.


def test_clean_and_up_refuse_a_folder_that_is_not_theirs(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    for action in (Stack(tmp_path).clean, Stack(tmp_path).up):
        with pytest.raises(DevstackError, match="holds no stack"):
            action()
    assert (tmp_path / "thesis.txt").exists()
