"""Whisper: costs at full size, one length for all audio, the encoder out of a whole checkpoint."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import WhisperConfig, WhisperForConditionalGeneration, WhisperModel

from prune_ssl import load_pretrained, resize, save_pretrained, trace
from prune_ssl.data import SpeechCollator
from prune_ssl.errors import ModelError
from prune_ssl.families.whisper import WHISPER
from prune_ssl.models import load_model
from prune_ssl.tasks.classification import ClassificationHead
from tests.support.models import batch, checksum, first_output, tiny_model


def whole(kind=WhisperForConditionalGeneration):
    sizes = dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id"), 0)
    layers = {"encoder_layers": 2, "decoder_layers": 1, "num_mel_bins": 10, "max_source_positions": 50}
    heads = {"encoder_attention_heads": 4, "decoder_attention_heads": 4, "vocab_size": 20}
    return kind(WhisperConfig(d_model=16, encoder_ffn_dim=24, decoder_ffn_dim=8, **layers, **heads, **sizes))


def test_costs_of_whisper_tiny_are_the_closed_form_for_thirty_seconds():
    width, inner, frames = 384, 1536, 1500
    with torch.device("meta"):
        graph = trace(WHISPER.stock("bare")(WhisperConfig()))
    layer = 4 * width**2 + 3 * width + 2 * width * inner + inner + width + 4 * width
    frontend = 3 * 80 * width + width + 3 * width**2 + width
    assert graph.cost().params == frontend + frames * width + 4 * layer + 2 * width
    per_frame = 4 * width**2 + 2 * width * inner
    macs = 2 * frames * 3 * 80 * width + frames * 3 * width**2
    macs += 4 * (frames * per_frame + 2 * frames**2 * width)
    for seconds in (0.5, 10.0, 45.0):
        cost = graph.cost(seconds=seconds)
        assert (cost.macs, cost.seconds) == (macs, 30.0)


def test_the_encoder_of_a_whole_whisper_is_loaded_and_gets_a_head(tmp_path):
    model = whole()
    model.save_pretrained(tmp_path / "whole")
    with pytest.raises(ModelError, match=r"its weights hold a head \(model\.decoder.*--head drop"):
        load_model(tmp_path / "whole")
    encoder = load_model(tmp_path / "whole", head="drop")
    assert checksum(encoder) == checksum(model.get_encoder())
    small = resize(encoder, trace(encoder), {"hidden": [0, 3, 5], "conv.0": range(5)})
    kept = checksum(small)
    with_head = ClassificationHead(("no", "yes")).put_on(small)
    assert checksum(with_head.encoder) == kept
    again = load_pretrained(save_pretrained(with_head, tmp_path / "small"))
    assert torch.equal(first_output(again, **batch(again)).isnan(), torch.zeros(2, 2, dtype=torch.bool))
    assert checksum(load_model(tmp_path / "small", head="drop")) == kept


def test_a_model_that_was_loaded_is_saved_by_its_own_names_whole_and_pruned(tmp_path):
    model = tiny_model("whisper", "ForAudioClassification", num_labels=3)
    model.save_pretrained(tmp_path / "dense")
    loaded = load_model(tmp_path / "dense")
    loaded.save_pretrained(tmp_path / "again")
    files = [load_file(tmp_path / name / "model.safetensors") for name in ("dense", "again")]
    assert files[0].keys() == files[1].keys()
    small = resize(loaded, trace(loaded), {"layer.0.ffn": range(3), "conv.0": range(5)})
    assert checksum(load_pretrained(save_pretrained(small, tmp_path / "small"))) == checksum(small)
    whole().save_pretrained(tmp_path / "whole")
    encoder = load_model(tmp_path / "whole", head="drop")
    encoder.save_pretrained(tmp_path / "encoder")
    assert load_file(tmp_path / "encoder" / "model.safetensors").keys() == encoder.state_dict().keys()


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (WhisperModel, "does not run on input_features alone.*Trace a part that does, such as its encoder"),
        (WhisperForConditionalGeneration, "neither a backbone attribute 'encoder' nor layers of its own"),
    ],
)
@pytest.mark.filterwarnings("ignore:a folder of this model could not be loaded again")
def test_a_model_with_a_decoder_is_refused(kind, message):
    with pytest.raises(ModelError, match=message):
        trace(whole(kind))


def test_the_feature_extractor_pads_to_the_models_length():
    config = WhisperConfig(max_source_positions=100)
    extractor = WHISPER.input.new_extractor(config)
    items = [{"input_values": np.zeros(length, np.float32), "labels": 0} for length in (3_000, 50_000)]
    made = SpeechCollator(extractor, lengths=True)(items)
    assert made["input_features"].shape == (2, *WHISPER.input.shape(9.0, config)[1:]) == (2, 80, 200)
    assert made["input_lengths"].tolist() == [3_000, 50_000]
    with pytest.raises(ModelError, match="max_source_positions: found 70, wanted a multiple of 50"):
        WHISPER.input.new_extractor(WhisperConfig(max_source_positions=70))
