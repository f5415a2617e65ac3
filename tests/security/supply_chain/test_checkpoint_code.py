"""A checkpoint of somebody else brings no code: what the exceptions for transformers rest on."""

import json
from pathlib import Path
from typing import Any

import pytest

from supply_chain.audit import read_exceptions
from supply_chain.licences import read_page


def test_nothing_is_installed_that_would_fetch_code_for_a_config() -> None:
    """CVE-2026-4372 needs the package `kernels`."""
    listed = {row.name for row in read_page()}
    assert "transformers" in listed
    assert "kernels" not in listed
    assert any("CVE-2026-4372" in exception.ids for exception in read_exceptions())


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
@pytest.mark.parametrize(
    "named",
    [
        {"_attn_implementation_internal": "attacker/kernel"},
        {"_attn_implementation": "attacker/kernel"},
        {"attn_implementation": "attacker/kernel"},
        {"attn_implementation": "flash_attention_2"},
        {"_experts_implementation_internal": "attacker/kernel"},
        {"auto_map": {"AutoConfig": "attacker/repository--evil.Config"}},
    ],
    ids=str,
)
def test_code_that_a_config_names_is_never_asked_for(
    named: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch", reason="needs the extra 'export'")
    from transformers import DistilBertModel, modeling_utils  # noqa: PLC0415 (of the extra)

    from model_export.checkpoint import load_checkpoint  # noqa: PLC0415
    from tests.model.stock_checkpoint import write_stock_checkpoint  # noqa: PLC0415

    folder = write_stock_checkpoint(tmp_path / "checkpoint")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **named}))
    asked: list[str] = []
    monkeypatch.setattr(modeling_utils, "load_and_register_kernel", asked.append)

    load_checkpoint(folder)

    assert asked == []
    if "_attn_implementation_internal" in named:
        # The attack is there: what transformers does by itself.
        with pytest.raises(KeyError):
            DistilBertModel.from_pretrained(folder)
        assert asked == ["attacker/kernel"]
