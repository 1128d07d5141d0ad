"""Handing a model over: the origin that its card states."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from prune_ssl.artifacts.companions import CARD_OF_SOURCE
from prune_ssl.pipeline.handing_over import _provenance


@pytest.mark.parametrize(
    "content", [None, "no card", "---\nlicense: mit\n---\n# Model\n", "---\na: [\n---\n", b"\xff"]
)
def test_a_card_of_the_source_is_read_where_it_is_one(tmp_path: Path, content: str | bytes | None) -> None:
    if isinstance(content, bytes):
        (tmp_path / CARD_OF_SOURCE).write_bytes(content)
    elif content is not None:
        (tmp_path / CARD_OF_SOURCE).write_text(content)
    recipe = SimpleNamespace(
        model=SimpleNamespace(name="org/model"),
        data=SimpleNamespace(path="/data/words"),
        task="classification",
    )
    found = _provenance(recipe, tmp_path)  # type: ignore[arg-type]
    assert (found.base_model, found.task, found.data) == ("org/model", "classification", "words")
    assert found.source_card.get("license") == ("mit" if content and "mit" in str(content) else None)
    assert found.command.startswith("prune-ssl run ")
