"""A graph that differs from the model is not kept."""

import pytest
import torch

from prune_ssl.errors import ExportError
from prune_ssl.exporting import write_export
from prune_ssl.exporting.comparing import NEVER, compare
from prune_ssl.runtimes.sessions import OPENERS
from tests.support.exporting import NORMALISED, needs_onnx, pruned
from tests.support.models import tiny_model


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


@pytest.mark.parametrize(("factors", "agrees"), [((1, 1), True), ((1, 1.01), False), ((1.01, 1), False)])
def test_the_embeddings_of_a_verifier_are_compared_like_its_logits(factors, agrees):
    model = tiny_model("wavlm", "ForXVector")

    def session(feeds):
        with torch.no_grad():
            found = model(**{name: torch.from_numpy(each) for name, each in feeds.items()})
        logits, embeddings = found.logits, found.embeddings
        return logits.numpy() * factors[0], embeddings.numpy() * factors[1]

    if agrees:
        assert compare(model, session, True, 1e-4, "onnx", 1.0).largest < 1e-6
        return
    with pytest.raises(ExportError, match=r"off by 1\.0e-02"):
        compare(model, session, True, 1e-4, "onnx", 1.0)


def test_symbols_that_are_never_printed_hide_no_difference_of_the_others():
    """Their logits are near -10,000. Relative to those an error of a whole logit would pass."""
    model = tiny_model("hubert", "ForCTC")
    with torch.no_grad():
        model.lm_head.bias[3] = NEVER

    def session(feeds):
        with torch.no_grad():
            logits = model(**{name: torch.from_numpy(each) for name, each in feeds.items()}).logits
        return (logits.where(logits < NEVER / 2, logits * 1.01).numpy(),)

    with pytest.raises(ExportError, match=r"off by 1\.0e-02"):
        compare(model, session, False, 1e-4, "sherpa-onnx")
