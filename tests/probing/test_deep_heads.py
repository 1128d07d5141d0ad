"""SUPERB's larger heads: padding changes nothing, and both learn on a frozen encoder."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from prune_ssl.probing import PROBES, probe
from prune_ssl.probing.conditions import conditions_of
from prune_ssl.probing.deep_heads import REACH, RecurrentProbe, XVectorProbe
from tests.support.models import tiny_model
from tests.support.probing import EXTRACTOR, write_corpus

STATES, FRAMES = torch.randn(2, 3, 30, 8), torch.tensor([30, 22])


@pytest.mark.parametrize("kind", [RecurrentProbe, XVectorProbe])
def test_padding_changes_no_output(kind) -> None:
    head = kind(3, 8, 6, 5).eval()
    with torch.no_grad():
        both, alone = head(STATES, FRAMES), head(STATES[1:, :, :22], FRAMES[1:])
    found = both[1, :22] if kind is RecurrentProbe else both[1]
    torch.testing.assert_close(found, alone[0])


def test_a_clip_shorter_than_the_convolutions_has_an_embedding() -> None:
    head = XVectorProbe(3, 8, 6, 5).eval()
    found = head(STATES[:, :, : REACH - 4], torch.tensor([REACH - 4, 3]))
    assert found.shape == (2, 6)
    assert bool(found.isfinite().all())


def test_speakers_are_learnt_and_judged_under_noise_as_well(tmp_path: Path) -> None:
    data = write_corpus(tmp_path / "tones", {"train": 8, "validation": 8}, "speaker")
    settings = replace(PROBES["asv"], steps=20, batch_size=8, width=16, rates=(1e-2,))
    model = tiny_model("wav2vec2", "Model")
    found = probe(
        model, EXTRACTOR, data, settings, say=lambda line: None, conditions=conditions_of(None, None, [-30.0])
    )
    assert found.metric == "eer"
    assert found.value < 0.2, "tones of two pitches"
    assert found.under["-30 dB"] > found.value
    again = probe(
        model, EXTRACTOR, data, settings, say=lambda line: None, conditions=conditions_of(None, None, [-30.0])
    )
    assert again.under == found.under, "the noise of a clip is always the same"


def test_transcripts_are_read_by_the_recurrent_head(tmp_path: Path) -> None:
    data = write_corpus(tmp_path / "tones", {"train": 8, "validation": 4}, "text")
    settings = replace(PROBES["asr"], steps=2, batch_size=4, width=8, rates=(1e-2,))
    found = probe(tiny_model("hubert", "Model"), EXTRACTOR, data, settings, say=lambda line: None)
    assert found.metric == "wer"
    assert {"wer", "cer"} <= set(found.folds[0][0].test)
