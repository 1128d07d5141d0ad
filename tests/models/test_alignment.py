"""The Auto classes give the outputs of the saved model, also where odd widths shift weights in the file."""

import torch
from transformers import AutoModelForCTC

import prune_ssl
from prune_ssl.artifacts.remote_code import FILE
from prune_ssl.models.alignment import ALIGNMENT_BYTES
from tests.support.models import batch, first_output, tiny_model


def test_weights_of_odd_widths_are_aligned_by_the_auto_class(tmp_path):
    model = tiny_model("wav2vec2", "ForCTC")
    keep = {"layer.0.ffn": [1], "layer.1.ffn": [0, 4, 5]}
    small = prune_ssl.resize(model, prune_ssl.trace(model), keep).eval()
    folder = prune_ssl.save_pretrained(small, tmp_path / "small")
    loaded, info = AutoModelForCTC.from_pretrained(folder, output_loading_info=True)
    assert not info["missing_keys"]
    assert {each.data_ptr() % ALIGNMENT_BYTES for each in loaded.parameters()} == {0}
    given = batch(small, 5000, padded=True)
    assert torch.equal(first_output(loaded.eval(), **given), first_output(small, **given))
    assert "align_(found" in (folder / FILE).read_text()
