"""Nothing that is shipped runs what it reads: no pickle, no eval, no shell, no certificate that is not checked."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
SHIPPED = (
    *("schemas", "producer", "consumer", "model_export", "training", "devstack", "demo", "models", "examples"),
    "docs",
)
# Ruff's names for: exec, pickle and its kin, marshal, insecure ciphers, mktemp, eval, mark_safe, XML that expands,
# telnet, FTP, contexts and requests without verification, old TLS, yaml.load, SSH without host keys, shells, tar and
# zip that unpack anywhere, templates that do not escape.
_RULES = (
    "S102,S201,S202,S301,S302,S303,S304,S305,S306,S307,S308,S312,S313,S314,S315,S316,S317,S318,S319,S321,S323,S324,"
    "S501,S502,S503,S504,S505,S506,S507,S602,S604,S605,S609,S612,S701,S702"
)
_MODULES = {
    *("pickle", "_pickle", "dill", "cloudpickle", "joblib", "jsonpickle", "shelve", "marshal"),
    *("code", "codeop", "imp", "telnetlib", "ftplib"),
}
_CALLS = {
    *("eval", "exec", "compile", "__import__", "runpy.run_path", "os.system", "os.popen", "tempfile.mktemp"),
    *("os.execl", "os.execv", "os.execvp", "os.spawnl", "os.spawnv", "logging.config.listen"),
    *("yaml.load", "yaml.unsafe_load", "yaml.full_load", "pd.read_pickle", "shutil.unpack_archive"),
    *("ssl._create_unverified_context", "ssl._create_stdlib_context"),
}
# A keyword that opens a door, and the value that does.
_KEYWORDS = {
    "allow_pickle": True,
    "trust_remote_code": True,
    "weights_only": False,
    "shell": True,
    "verify": False,
    "check_hostname": False,
    "cert_reqs": None,
    "ssl": False,
    "verify_ssl": False,
}
_NEEDED = {"torch.load": "weights_only"}
# It asks why a handshake failed, and sends nothing over what it opens.
_EXPLAINED = {"schemas/handshake.py: check_hostname = False"}


def findings(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (f"import {name.name}" for name in node.names if name.name.partition(".")[0] in _MODULES)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in _MODULES:
            # The error alone reads nothing: torch.load and safetensors raise it for a file that they refuse.
            yield from (
                f"from {node.module} import {name.name}" for name in node.names if name.name != "UnpicklingError"
            )
        elif isinstance(node, ast.Call):
            yield from in_call(node)
        elif isinstance(node, ast.Assign):
            targets = [target.attr for target in node.targets if isinstance(target, ast.Attribute)]
            if isinstance(node.value, ast.Constant) and node.value.value is False and "check_hostname" in targets:
                yield "check_hostname = False"


def in_call(node: ast.Call) -> Iterator[str]:
    name = ast.unparse(node.func)
    if name in _CALLS:
        yield name
    given = {keyword.arg: keyword.value for keyword in node.keywords}
    for keyword, value in given.items():
        if keyword in _KEYWORDS and isinstance(value, ast.Constant) and value.value is _KEYWORDS[keyword]:
            yield f"{name}({keyword}={value.value})"
    if name in _NEEDED and _NEEDED[name] not in given:
        yield f"{name} without {_NEEDED[name]}"


@pytest.mark.parametrize("package", SHIPPED)
def test_no_file_that_is_shipped_holds_one(package: str) -> None:
    paths = [path for path in (ROOT / package).rglob("*.py") if ".venv" not in path.parts]
    found = [
        f"{path.relative_to(ROOT)}: {each}" for path in paths for each in findings(path.read_text(encoding="utf-8"))
    ]
    assert [each for each in found if each not in _EXPLAINED] == []


def test_ruff_finds_none_either_whatever_comments_ask_of_it() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ruff", "check", "--isolated", "--ignore-noqa", "--no-cache", "--select", _RULES]
        + [str(ROOT / package) for package in SHIPPED],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from pickle import loads",
        "import joblib.numpy_pickle",
        "eval(text)",
        "np.load(path, allow_pickle=True)",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "AutoModel.from_pretrained(x, trust_remote_code=True)",
        "subprocess.run(line, shell=True)",
        "tempfile.mktemp()",
        "requests.get(url, verify=False)",
        "context.check_hostname = False",
        "yaml.load(text)",
        "__import__(name)",
        "os.system(line)",
    ],
)
def test_it_would_be_found(source: str) -> None:
    assert list(findings(source))
