"""The trial: a process of its own that may be crashed, filled and held up, while the one that asked goes on."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from consumer.inference import limits, quarantine
from consumer.inference.bundle import load_bundle
from consumer.inference.manifest import MODEL_FILE, TOKENIZER_FILE, BundleError
from model_export.commands import app
from tests.inference.tiny_bundle import build_tiny_bundle
from tests.security.bundles import hostile
from tests.security.bundles.hostile import Case

_LOAD = """
import resource, sys
from consumer.inference.bundle import BundleError, load_bundle
try:
    load_bundle(sys.argv[1])
except BundleError as refused:
    print(refused)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
# getrusage would count the process that this one was forked from.
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM:")))
"""


def put_in_its_place(folder: Path, code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let other code run where the trial would."""
    package = folder / "elsewhere" / "consumer" / "inference"
    package.mkdir(parents=True)
    for path in (package.parent / "__init__.py", package / "__init__.py"):
        path.write_text("")
    (package / "trial.py").write_text(code)
    monkeypatch.setattr(sys, "path", [str(package.parents[1]), *sys.path])


@pytest.mark.parametrize("case", hostile.BOMBS.values(), ids=hostile.BOMBS)
def test_a_bomb_goes_off_in_the_trial_and_takes_little(folder: Path, case: Case) -> None:
    breaking, name, _ = case
    breaking(folder)
    # Asked of a process whose only child is the trial.
    done = subprocess.run(
        [sys.executable, "-c", _LOAD, str(folder)], capture_output=True, text=True, timeout=120, check=True
    )
    reason, peak_kib, own_kib = done.stdout.splitlines()
    assert name in reason
    limit = limits.TRIAL_MEMORY_BYTES + limits.TRIAL_MEMORY_PER_MODEL_BYTE * (folder / MODEL_FILE).stat().st_size
    assert int(peak_kib) * 1024 < limit + 100 * 2**20
    assert int(own_kib) * 1024 < 200 * 2**20


def test_what_takes_too_long_is_ended(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "TRIAL_WALL_S", 3)
    hostile.SLOW["time"][0](folder)
    started_s = time.monotonic()
    with pytest.raises(BundleError, match="its trial took more than 3 s; nothing of it was loaded"):
        load_bundle(folder)
    assert time.monotonic() - started_s < 30


@pytest.mark.skipif(not os.environ.get("SECURITY_SLOW"), reason="takes half a minute of CPU time: make test-security")
def test_what_takes_too_much_cpu_time_is_ended(folder: Path) -> None:
    hostile.SLOW["time"][0](folder)
    with pytest.raises(BundleError, match=r"ended by SIGXCPU, with 30 s of CPU time"):
        load_bundle(folder)


@pytest.mark.parametrize("how", ["os.abort()", "os.kill(os.getpid(), 11)", "sys.exit(3)", "print('{}'); sys.exit(1)"])
def test_a_crash_of_a_library_is_a_refusal(folder: Path, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    put_in_its_place(folder.parent, f"import os, sys\n{how}\n", monkeypatch)
    with pytest.raises(BundleError, match=r"its trial (was ended by SIG|ended with exit code)"):
        quarantine.try_in_quarantine(folder, "0" * 64, 1_000)


def test_the_trial_is_told_no_secret(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tells = "import json, os, sys\nprint(json.dumps({'refused': str(dict(os.environ)) + str(sys.argv)}))\nsys.exit(1)\n"
    put_in_its_place(folder.parent, tells, monkeypatch)
    for name in ("DATABASE_URL", "KAFKA_SASL_PASSWORD", "AWS_SECRET_ACCESS_KEY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "canary")
    with pytest.raises(BundleError) as told:
        quarantine.try_in_quarantine(folder, "0" * 64, 1_000)
    assert "OPENBLAS" in str(told.value)
    assert "canary" not in str(told.value)


def test_the_shipped_bundle_needs_less_than_half_of_what_the_trial_gives() -> None:
    shipped = Path(__file__).parents[3] / "models" / "default"
    code = (
        "import hashlib, resource, sys; from pathlib import Path; from consumer.inference.trial import main\n"
        "folder = Path(sys.argv[1]); sha256 = hashlib.sha256((folder / 'manifest.json').read_bytes()).hexdigest()\n"
        "print(main(folder, sha256, int(sys.argv[2])))"
    )
    size = (shipped / MODEL_FILE).stat().st_size
    memory_bytes = (limits.TRIAL_MEMORY_BYTES + limits.TRIAL_MEMORY_PER_MODEL_BYTE * size) // 2
    done = subprocess.run(
        [sys.executable, "-c", code, str(shipped), str(memory_bytes)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "0"


def test_verify_refuses_in_one_line(tmp_path: Path) -> None:
    for number, (breaking, name, reason) in enumerate((hostile.FILES["a pipe"], hostile.TOKENIZERS["depth"])):
        folder = build_tiny_bundle(tmp_path / str(number))
        breaking(folder)
        done = CliRunner().invoke(app, ["verify", str(folder)])
        assert done.exit_code == 1
        assert len(done.stderr.splitlines()) == 1, done.stderr
        assert name in done.stderr
        assert reason in done.stderr
    as_json = CliRunner().invoke(app, ["verify", str(folder), "--json"])
    assert as_json.exit_code == 1
    assert reason in json.loads(as_json.stdout)["reason"]


def test_classify_refuses_in_one_line(folder: Path) -> None:
    breaking, name, reason = hostile.TOKENIZERS["catastrophic backtracking"]
    breaking(folder)
    done = subprocess.run(
        [sys.executable, "-m", "consumer", "classify", "--bundle", str(folder)],
        input="a" * 5_000,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert name == TOKENIZER_FILE
    assert reason in done.stderr
