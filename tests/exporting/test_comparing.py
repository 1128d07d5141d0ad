"""A graph that differs from the model is not kept."""

import pytest

from prune_ssl.errors import ExportError
from prune_ssl.exporting import write_export
from prune_ssl.runtimes.sessions import OPENERS
from tests.support.exporting import NORMALISED, needs_onnx, pruned


@pytest.mark.slow
@needs_onnx
def test_a_graph_that_differs_is_not_kept(tmp_path, monkeypatch):
    """As where an exporter leaves dropout on, or bakes a length in."""
    model = pruned()
    real = OPENERS["onnx"]
    monkeypatch.setitem(OPENERS, "onnx", lambda path: lambda feeds: (real(path)(feeds)[0] * 1.001,))
    with pytest.raises(ExportError, match=r"off by 1\.0e-03 .* it was not kept"):
        write_export(model, tmp_path / "out", "onnx", processor=NORMALISED)
    assert not list(tmp_path.iterdir())
