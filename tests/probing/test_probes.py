"""The SUPERB probe on dense and pruned models, and SUPERB's scores against the published ones."""

import importlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from transformers import Wav2Vec2FeatureExtractor
from typer.testing import CliRunner

import prune_ssl
from prune_ssl.cli.app import app
from prune_ssl.data import Clip, SpeechCollator
from prune_ssl.errors import DataError
from prune_ssl.probing import MEASURES, PROBES, overall_score, probe, superb_score
from prune_ssl.probing.heads import Probe, WeightedSum
from prune_ssl.probing.probes import _batches
from prune_ssl.probing.states import FrozenStates
from tests.support.models import tiny_model

# The package's `probe` is the function.
probing = importlib.import_module("prune_ssl.probing.probes")

# As their papers print them, in the order of ORDER; then the overall and the SUPERB score.
PUBLISHED: dict[str, tuple[tuple[float, ...], float | None, int]] = {
    "wav2vec2 Base": ((96.23, 92.35, 5.74, 6.43, 63.43, 0.0233, 88.30, 24.77, 75.18, 6.02, 6.08), None, 818),
    "HuBERT Base": ((96.30, 98.34, 5.41, 6.42, 64.92, 0.0736, 88.53, 25.20, 81.42, 5.11, 5.88), 80.8, 941),
    "WavLM Base": ((96.79, 98.63, 4.84, 6.21, 65.94, 0.0870, 89.38, 22.86, 84.51, 4.69, 4.55), 81.9, 1019),
    "WavLM Base+": ((97.37, 99.00, 3.92, 5.59, 68.65, 0.0988, 90.58, 21.20, 89.42, 4.07, 3.50), None, 1106),
    "DistilHuBERT": ((95.98, 94.99, 16.27, 13.37, 63.02, 0.0511, 82.57, 35.59, 73.54, 8.55, 6.19), 75.9, 717),
    "LightHuBERT small": (
        (96.07, 98.23, 6.60, 8.33, 64.12, 0.0764, 87.58, 26.90, 69.70, 5.42, 5.85),
        79.1,
        901,
    ),
    "DPHuBERT": ((96.36, 97.92, 9.67, 10.47, 63.16, 0.0693, 86.86, 28.26, 76.83, 5.84, 5.92), 78.9, 866),
    "DPWavLM": ((96.27, 98.58, 8.22, 10.19, 65.24, 0.0874, 87.68, 26.11, 82.11, 5.98, 5.53), None, 926),
    "ARMHuBERT-S": ((96.82, 97.02, 8.63, 10.82, 62.96, 0.0720, 86.34, 29.02, 63.76, 5.58, 7.01), 77.5, 828),
    "STaRHuBERT": ((96.27, 97.55, 8.16, 9.35, 63.01, 0.0688, 87.94, 25.31, 77.58, 5.39, 6.05), 79.5, 887),
    "STaRHuBERT-L": ((96.56, 97.50, 7.97, 8.91, 63.48, 0.0677, 88.01, 25.36, 78.66, 5.45, 5.83), 79.8, 896),
}
ORDER = ("ks", "ic", "pr", "asr", "er", "qbe", "sf_f1", "sf_cer", "sid", "asv", "sd")


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_scores_come_out(name: str) -> None:
    row, overall, score = PUBLISHED[name]
    results = dict(zip(ORDER, row, strict=True))
    assert abs(superb_score(results) - score) <= 1.0
    if overall is not None:
        assert abs(overall_score(results) - overall) <= 0.06  # printed with one decimal


def test_scores_are_zero_for_the_filterbank_and_a_thousand_for_the_best() -> None:
    assert superb_score({name: measure.baseline for name, measure in MEASURES.items()}) == 0
    assert superb_score({name: measure.best for name, measure in MEASURES.items()}) == pytest.approx(1000)


def test_an_incomplete_row_has_no_score() -> None:
    with pytest.raises(DataError, match="missing: asr, ic, pr; unknown: wer"):
        superb_score({"ks": 96.0, "wer": 3.0} | dict.fromkeys(ORDER[4:], 1.0))


def write_corpus(root: Path, splits: dict[str, int], columns: str = "label") -> Path:
    """Write tones: the first label is the pitch; a second column is loudness of an overtone."""
    generator = np.random.default_rng(0)
    for split, count in splits.items():
        folder = root / split
        folder.mkdir(parents=True)
        rows = [f"file_name,{columns}"]
        for index in range(count):
            hz, name = ((200, "low"), (1_500, "high"))[index % 2]
            over, second = ((0.0, "pure"), (1.0, "rich"))[index // 2 % 2]
            time = np.arange(8_000 + 400 * index) / 16_000
            wave = np.sin(2 * np.pi * hz * time + index) + over * np.sin(2 * np.pi * 4_000 * time)
            wave = 0.2 * wave + 0.01 * generator.standard_normal(len(time))
            soundfile.write(folder / f"{index}.wav", wave, 16_000)
            rows.append(",".join([f"{index}.wav", name, second][: 1 + len(columns.split(","))]))
        (folder / "metadata.csv").write_text("\n".join(rows) + "\n")
    return root


EXTRACTOR = Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=False)


def test_states_are_those_of_the_clip_alone_and_kept() -> None:
    model = tiny_model("hubert", "ForSequenceClassification")
    states = FrozenStates(model.train(), SpeechCollator(EXTRACTOR))
    clips = [
        Clip(Path(f"{length}.wav"), "a", length / 16_000, samples=np.random.randn(length).astype(np.float32))
        for length in (4_000, 6_400)
    ]
    batch, frames = states.batch(clips)
    assert frames.tolist() == [12, 19]
    assert batch.shape == (2, model.config.num_hidden_layers + 1, 19, model.config.hidden_size)
    assert batch[0, :, 12:].abs().max() == 0
    wave = torch.from_numpy(clips[0].waveform())
    wave = ((wave - wave.mean()) / (wave.var(correction=0) + 1e-7).sqrt())[None]
    with torch.no_grad():
        wanted = torch.cat(model.eval().hubert(wave, output_hidden_states=True).hidden_states)
    torch.testing.assert_close(batch[0, :, :12], wanted, rtol=0, atol=1e-5)
    assert states.of_clip(clips[0]) is states.of_clip(clips[0])
    short = FrozenStates(model, SpeechCollator(EXTRACTOR), memory_bytes=10)
    assert not short.kept
    assert torch.equal(short.of_clip(clips[0]), states.of_clip(clips[0]))
    assert not short.kept


def test_the_weighted_sum_is_the_mean_at_the_start_and_pooling_leaves_padding_out() -> None:
    given = torch.randn(2, 3, 5, 4)
    torch.testing.assert_close(WeightedSum(3)(given), given.mean(1))
    head = Probe(3, 4, 6, 7, pooled=True)
    padded = given.clone()
    padded[0, :, 3:] = 99.0
    found = head(padded, torch.tensor([3, 5]))
    assert found.shape == (2, 7)
    torch.testing.assert_close(found[:1], head(given[:1, :, :3], torch.tensor([3])))
    assert Probe(3, 4, 6, 7, pooled=False)(given, torch.tensor([5, 5])).shape == (2, 5, 7)


def test_balanced_batches_draw_labels_equally_often() -> None:
    clips = [Clip(Path(f"{index}"), "often" if index else "seldom", 1.0) for index in range(10)]
    settings = replace(PROBES["ks"], batch_size=500, seed=0)
    assert 200 < sum(index == 0 for index in next(_batches(clips, settings))) < 300
    plain = replace(settings, balanced=False, batch_size=4)
    batches = _batches(clips, plain)
    drawn = [*next(batches), *next(batches)]
    assert len(set(drawn)) == 8


@pytest.mark.parametrize("pruned", [False, True])
def test_a_probe_learns_on_a_frozen_encoder(pruned: bool, tmp_path: Path) -> None:
    data = write_corpus(tmp_path / "tones", {"train": 8, "validation": 4, "test": 4})
    model = tiny_model("wav2vec2", "ForCTC")
    if pruned:
        graph = prune_ssl.trace(model)
        model = prune_ssl.resize(model, graph, prune_ssl.select(model, graph, "macs=70%", round_to=1))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    settings = replace(PROBES["ks"], steps=60, batch_size=8)
    lines: list[str] = []
    found = probe(model, EXTRACTOR, data, replace(settings, rates=(1e-2, 1e-9)), say=lines.append)
    assert found.value == 1.0
    ((best, other),) = found.folds
    assert (best.learning_rate, best.test["accuracy"]) == (1e-2, 1.0)
    assert other.learning_rate == 1e-9
    assert len(best.layer_weights) == model.config.num_hidden_layers + 1
    assert sum(best.layer_weights) == pytest.approx(1)
    assert len(lines) == 2
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_slots_phonemes_and_folds_are_probed(tmp_path: Path) -> None:
    model = tiny_model("hubert", "Model")
    splits = {"train": 8, "validation": 4}
    two = write_corpus(tmp_path / "two", splits, "action,object")
    settings = replace(PROBES["ic"], target="action|object", steps=80, batch_size=8)
    found = probe(model, EXTRACTOR, two, replace(settings, rates=(1e-2,)), say=lambda line: None)
    assert found.value == 1.0
    assert found.folds[0][0].test["action_accuracy"] == 1.0
    spoken = write_corpus(tmp_path / "spoken", splits, "phonemes")
    settings = replace(PROBES["pr"], steps=150, batch_size=8)
    found = probe(model, EXTRACTOR, spoken, replace(settings, rates=(1e-1,)), say=lambda line: None)
    assert found.metric == "per"
    assert found.value < 0.5  # what one label everywhere has
    folds = tmp_path / "folds"
    for name in ("1", "2"):
        write_corpus(folds / name, splits)
    settings = replace(PROBES["er"], steps=2, batch_size=8)
    found = probe(model, EXTRACTOR, folds, replace(settings, rates=(1e-3,)), say=lambda line: None)
    assert len(found.folds) == 2
    assert found.value == np.mean([heads[0].test["accuracy"] for heads in found.folds])


def quick_probe(data: Path) -> tuple[int, list[str]]:
    """Probe the keyword of a corpus for two steps; folds, and what was said."""
    lines: list[str] = []
    settings = replace(PROBES["ks"], steps=2, batch_size=4)
    found = probe(
        tiny_model("hubert", "Model"), EXTRACTOR, data, replace(settings, rates=(1e-3,)), say=lines.append
    )
    return len(found.folds), lines


def test_a_corpus_is_probed_as_it_is_unpacked(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    for word in ("no", "yes"):
        (tmp_path / word).mkdir()
        for number in range(4):
            noise = 0.1 * generator.standard_normal(8_000)
            soundfile.write(tmp_path / word / f"ab{number}_nohash_0.wav", noise, 16_000)
    for name, number in (("validation", 2), ("testing", 3)):
        clips = [f"{word}/ab{number}_nohash_0.wav" for word in ("no", "yes")]
        (tmp_path / f"{name}_list.txt").write_text("\n".join(clips))
    assert quick_probe(tmp_path)[0] == 1


def test_a_folder_is_one_of_folds_only_if_each_of_them_has_splits(tmp_path: Path) -> None:
    for name in ("1", "2"):
        write_corpus(tmp_path / name, {"train": 2, "validation": 2})
    (tmp_path / ".cache").mkdir()
    folds, lines = quick_probe(tmp_path)
    assert folds == 2
    assert lines[1].startswith("2: learning rate")
    (tmp_path / "raw").mkdir()
    with pytest.raises(DataError, match=r"neither a corpus .* nor a folder of folds: raw/ has no splits"):
        quick_probe(tmp_path)


@pytest.mark.parametrize(("name", "message"), [("nowhere", "no such folder"), ("empty", "folder is empty")])
def test_a_folder_without_data_is_no_result(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=message):
        quick_probe(tmp_path / name)


def test_a_probe_finds_out_first_whether_it_can_save_and_keeps_its_heads(tmp_path: Path, monkeypatch) -> None:
    data = write_corpus(tmp_path / "tones", {"train": 4, "validation": 2})
    folder = prune_ssl.save_pretrained(tiny_model("hubert"), tmp_path / "model", processor=EXTRACTOR)
    file = tmp_path / "new" / "results.json"
    command = ["superb", "probe", str(folder), "ks", str(data), "--rates", "0.01", "--rates", "0.02"]
    command += ["--steps", "2", "--save"]
    for content, message in (("{", "cannot be read as JSON"), ("[1]", "wanted a mapping of results")):
        (tmp_path / "bad.json").write_text(content)
        refused = CliRunner().invoke(app, [*command, str(tmp_path / "bad.json")])
        assert refused.exit_code == 2
        assert message in " ".join(refused.output.split())
        assert "learning rate" not in refused.output
        assert (tmp_path / "bad.json").read_text() == content
    (tmp_path / "empty.json").touch()
    assert CliRunner().invoke(app, [*command, str(tmp_path / "empty.json")]).exit_code == 0
    assert set(json.loads((tmp_path / "empty.json").read_text())) == {"ks"}
    plain, trained = probing._train, []

    def dying(*args):
        if len(trained) == 1:
            raise KeyboardInterrupt
        trained.append(plain(*args))
        return trained[-1]

    with monkeypatch.context() as patch:
        patch.setattr(probing, "_train", dying)
        assert CliRunner().invoke(app, [*command, str(file)]).exit_code == 130
    ((kept,),) = json.loads(file.with_name("results.json.ks-heads").read_text())
    assert (kept["learning_rate"], kept["validation"]) == (0.01, trained[0].validation)
    assert not file.exists()
    assert CliRunner().invoke(app, [*command, str(file)]).exit_code == 0
    assert [path.name for path in file.parent.iterdir()] == ["results.json"]


def test_the_commands_probe_and_score(tmp_path: Path) -> None:
    data = write_corpus(tmp_path / "tones", {"train": 4, "validation": 2})
    folder = prune_ssl.save_pretrained(tiny_model("hubert"), tmp_path / "model", processor=EXTRACTOR)
    file = tmp_path / "results.json"
    command = ["superb", "probe", str(folder), "ks", str(data), "--rates", "0.01", "--steps", "2"]
    result = CliRunner().invoke(app, [*command, "--save", str(file)])
    assert result.exit_code == 0, result.output
    assert "ks (keyword spotting): accuracy" in result.output
    assert "head: the probe trains a new one for ks" in result.output
    assert "dropped by request" not in result.output
    kept = json.loads(file.read_text())
    assert kept["ks"]["metric"] == "accuracy"
    row, _, score = PUBLISHED["HuBERT Base"]
    whole = dict(zip(ORDER, row, strict=True)) | {"ks": {"value": 96.30}}
    file.write_text(json.dumps(whole))
    result = CliRunner().invoke(app, ["superb", "score", str(file)])
    assert result.exit_code == 0, result.output
    shown = float(result.output.split("SUPERB score ")[1].split(";")[0])
    assert abs(shown - score) <= 1
    assert CliRunner().invoke(app, ["superb", "probe", str(folder), "xy", str(data)]).exit_code == 2
    file.write_text('{"ks": 1}')
    refused = CliRunner().invoke(app, ["superb", "score", str(file)])
    assert refused.exit_code == 2
    assert "missing: asr" in refused.output
