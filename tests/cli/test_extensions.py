"""Modules of installed packages that register something: each is imported, and none can stop the program."""

from importlib.metadata import EntryPoint

import pytest

from prune_ssl.cli import extensions
from prune_ssl.cli.extensions import GROUP, load_extensions


def points(monkeypatch: pytest.MonkeyPatch, *values: str) -> None:
    made = [EntryPoint(name=f"e{number}", value=value, group=GROUP) for number, value in enumerate(values)]
    monkeypatch.setattr(extensions, "entry_points", lambda group: made if group == GROUP else [])


def test_every_extension_is_imported(monkeypatch, tmp_path) -> None:
    for name in ("first_extension", "second_extension"):
        (tmp_path / f"{name}.py").write_text("open(__file__ + '.ran', 'w').close()")
    monkeypatch.syspath_prepend(tmp_path)
    points(monkeypatch, "first_extension", "second_extension")
    load_extensions()
    assert sorted(path.name for path in tmp_path.glob("*.ran")) == [
        "first_extension.py.ran",
        "second_extension.py.ran",
    ]


def test_one_that_cannot_be_imported_is_said_and_the_others_come(monkeypatch, tmp_path, capsys) -> None:
    (tmp_path / "broken_extension.py").write_text("raise SystemError('no luck')")
    (tmp_path / "whole_extension.py").write_text("open(__file__ + '.ran', 'w').close()")
    monkeypatch.syspath_prepend(tmp_path)
    points(monkeypatch, "broken_extension", "no_such_module_at_all", "whole_extension")
    load_extensions()
    said = " ".join(capsys.readouterr().out.split())
    assert "warning: the extension e0 (broken_extension) cannot be loaded: no luck" in said
    assert "the extension e1 (no_such_module_at_all) cannot be loaded: No module named" in said
    assert (tmp_path / "whole_extension.py.ran").exists()
