"""SECURITY.md names tests and pages that exist, and says for each threat which test holds it."""

import re

from tests.deploy.deployed_settings import ROOT

PAGE = (ROOT / "SECURITY.md").read_text("utf-8")


def test_every_test_that_it_names_exists() -> None:
    named = set(re.findall(r"`(tests/[\w/.-]+)`", PAGE))

    assert len(named) >= 15
    for path in named:
        found = ROOT / path
        assert found.exists(), path
        assert found.is_file() or list(found.glob("test_*.py")), path


def test_every_part_of_the_security_tests_is_named() -> None:
    parts = {path.parent.relative_to(ROOT).as_posix() for path in ROOT.glob("tests/security/*/test_*.py")}

    assert {part for part in parts if part not in PAGE} == set()


def test_every_threat_has_a_test() -> None:
    rows = re.findall(r"^\| (.+) \|$", PAGE, re.MULTILINE)
    threats = [row.split(" | ") for row in rows if row.count(" | ") == 4 and not row.startswith("who | ")]

    assert len(threats) >= 20
    for who, _, _, test, _ in threats:
        assert "`tests/" in test, who


def test_its_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\((?!http)([^)#\s]+)", PAGE):
        assert (ROOT / target).exists(), target


def test_it_invents_no_address_to_write_to() -> None:
    assert not re.search(r"[\w.+-]+@[\w-]+\.\w+", PAGE)


def test_make_targets_that_it_names_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))

    assert set(re.findall(r"`make ([a-z-]+)", PAGE)) <= targets
