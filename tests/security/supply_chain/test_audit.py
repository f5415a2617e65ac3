"""Advisories fail the audit, exceptions are for the extras and end, and silence is no clean bill."""

import json
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from supply_chain import audit
from supply_chain.audit import EXTRAS, AdvisoryException, AuditError, Finding, judge, read_exceptions
from supply_chain.locks import ROOT, lock_files, read_lock
from tests.security.supply_chain.osv import osv_service

TODAY = date(2026, 12, 1)
EXCEPTION = AdvisoryException(
    package="Some_Package",
    versions=SpecifierSet("<2"),
    ids=("PYSEC-1", "GHSA-1"),
    decided=date(2026, 11, 1),
    expires=date(2026, 12, 1),
    reason="nothing here calls what is broken",
)


def finding(where: str = EXTRAS, version: str = "1.9", *ids: str) -> Finding:
    return Finding(where, "some-package", version, ids or ("CVE-1", "GHSA-1"), ("2.0",))


def test_an_exception_covers_what_it_names_until_it_ends() -> None:
    assert judge([finding()], [], [EXCEPTION], TODAY).problems == ()
    assert len(judge([finding()], [], [EXCEPTION], TODAY).accepted) == 1
    [ended] = judge([finding()], [], [EXCEPTION], date(2026, 12, 2)).problems
    assert "the exception ended on 2026-12-01" in ended


@pytest.mark.parametrize(
    "other", [finding("consumer"), finding("dev"), finding(EXTRAS, "2.0"), finding(EXTRAS, "1.9", "CVE-2")]
)
def test_nothing_else_is_excepted_and_nothing_that_is_locked(other: Finding) -> None:
    found = judge([other], [], [EXCEPTION], TODAY)
    assert len(found.problems) == 1
    assert found.accepted == ()


def test_what_could_not_be_audited_is_a_problem_and_an_exception_without_use_is_told() -> None:
    found = judge([], ["consumer: left"], [EXCEPTION], TODAY)
    assert found.problems == ("consumer: left could not be audited",)
    assert len(found.unused) == 1


def test_the_exceptions_that_stand_are_dated_reasoned_and_about_nothing_that_is_locked() -> None:
    locked = {package.name for path in lock_files().values() for package in read_lock(path)}
    for exception in read_exceptions():
        assert exception.decided < exception.expires
        assert (exception.expires - exception.decided).days <= 100
        assert canonicalize_name(exception.package) not in locked


def test_an_exception_without_a_reason_or_an_end_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "exceptions.toml"
    path.write_text(
        '[[exception]]\npackage = "x"\nversions = "<2"\nids = ["A"]\ndecided = 2026-01-01\nreason = "because"\n'
    )
    with pytest.raises(AuditError, match=r"exceptions\.toml"):
        read_exceptions(path)


def run(**variables: str) -> "subprocess.CompletedProcess[str]":
    import os  # noqa: PLC0415 (the whole environment, for this process alone)

    return subprocess.run(
        [sys.executable, "-m", "supply_chain", "audit"],
        cwd=ROOT,
        env={**os.environ, "PIP_AUDIT_VULNERABILITY_SERVICE": "osv", **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=150,
    )


def test_a_service_that_is_away_fails_the_audit_in_one_line() -> None:
    pytest.importorskip("pip_audit")
    ended = run(PIP_AUDIT_OSV_URL="http://127.0.0.1:9/v1/query")

    assert ended.returncode == 1
    assert len(ended.stderr.strip().splitlines()) == 1, ended.stderr
    assert "pip-audit cannot tell about" in ended.stderr


@pytest.mark.parametrize("knows", [True, False])
def test_pip_audit_reads_the_locks_and_its_findings_are_judged(monkeypatch: pytest.MonkeyPatch, knows: bool) -> None:
    """pip-audit itself, on a real lock, asking a service on this machine. Extras are given, for want of a network."""
    pytest.importorskip("pip_audit")
    versions = {package.name: package.version for package in read_lock(lock_files()["consumer"])}
    advisories: dict[str, Any] = {
        name: [
            {
                "id": identifier,
                "aliases": [f"CVE-{identifier}"],
                "summary": "made up",
                "details": "made up",
                "affected": [
                    {
                        "package": {"name": name, "ecosystem": "PyPI"},
                        "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "999"}]}],
                    }
                ],
            }
        ]
        for name, identifier in (("pydantic", "PYSEC-1"), ("transformers", "PYSEC-2026-2289"))
    }
    monkeypatch.setattr(
        audit, "_resolve_extras", lambda: [{"transformers": "4.57.6", "pydantic": versions["pydantic"]}]
    )
    monkeypatch.setattr(audit, "lock_files", lambda: {"consumer": lock_files()["consumer"]})
    monkeypatch.setenv("PIP_AUDIT_VULNERABILITY_SERVICE", "osv")
    with osv_service(advisories if knows else {}) as url:
        monkeypatch.setenv("PIP_AUDIT_OSV_URL", url)
        findings, unaudited = audit.audit_locks()

    assert unaudited == []
    if not knows:
        assert findings == []
        return
    assert [(found.where, found.package, found.ids) for found in findings] == [
        ("consumer", "pydantic", ("PYSEC-1", "CVE-PYSEC-1")),
        (EXTRAS, "transformers", ("PYSEC-2026-2289", "CVE-PYSEC-2026-2289")),
    ]
    judgement = judge(findings, unaudited, read_exceptions(), TODAY)
    assert [line.split(":")[0] for line in judgement.problems] == ["consumer"]
    assert [line.split(":")[0] for line in judgement.accepted] == [EXTRAS]


def test_a_service_that_knows_no_package_is_no_clean_bill(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """pip-audit ends with status 0 then, as it does with an index that has no advisories."""
    answer = {"dependencies": [{"name": "left", "skip_reason": "Dependency not found"}], "fixes": []}
    ended = subprocess.CompletedProcess([], 0, stdout=json.dumps(answer), stderr="")
    monkeypatch.setattr(audit, "_run", lambda _: ended)
    with pytest.raises(AuditError, match="knows nothing of consumer"):
        audit._pip_audit("consumer", [], tmp_path / "consumer.txt")
