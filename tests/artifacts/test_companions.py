"""What came in goes out: the files of the source folder, and the dtype of its weights."""

import json
from pathlib import Path

import pytest
import soundfile
import torch
from safetensors.torch import load_file, save_file
from transformers import Wav2Vec2FeatureExtractor, Wav2Vec2Processor
from typer.testing import CliRunner

from prune_ssl import load_pretrained, resize, save_pretrained, select, trace
from prune_ssl.cli.app import app
from prune_ssl.errors import ArtifactError
from prune_ssl.measuring import measured_size_bytes
from prune_ssl.models import load_model
from prune_ssl.models.origin import write_in
from prune_ssl.tasks.inference import transcribe
from prune_ssl.tasks.tokenizers import character_tokenizer
from tests.support.models import tiny_model

GOES = (
    "vocab.json",
    "tokenizer_config.json",
    "preprocessor_config.json",
    "added_tokens.json",
    "special_tokens_map.json",
    "generation_config.json",
    "LICENSE",
    "NOTICE.txt",
    "alphabet.json",
    "kenlm.bin",
    "adapter.deu.safetensors",
    "adapter.fra.bin",
    "language_model/attrs.json",
    "language_model/unigrams.txt",
    "language_model/5gram.bin",
    "language_model/3gram.arpa.gz",
    "sub/words.txt",
)
STAYS = (
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
    "model.safetensors.index.json",
    "tf_model.h5",
    "flax_model.msgpack",
    "model.onnx",
    "last.ckpt",
    "weights.pt",
    "optimizer.pt",
    "optimizer.bin",
    "scheduler.pt",
    "rng_state.pth",
    "rng_state_0.pth",
    "scaler.pt",
    "training_args.bin",
    "trainer_state.json",
    "all_results.json",
    "eval_results.json",
    "events.out.tfevents.1",
    "runs/Nov1/events.out.tfevents.2",
    "checkpoint-500/vocab.json",
    "checkpoint-500/optimizer.pt",
    ".git/HEAD",
    ".gitattributes",
    "dense/vocab.json",
    "other/config.json",
    "other/vocab.json",
    "pruning_plan.json",
    "report.json",
    "pickle.bin",
)


def ctc_folder(folder: Path, texts=("abc def",), dtype=torch.float32) -> Path:
    """A CTC model as its author left it after training."""
    tokenizer = character_tokenizer(texts)
    model = tiny_model("wav2vec2", "ForCTC", vocab_size=len(tokenizer), pad_token_id=tokenizer.pad_token_id)
    model.to(dtype).save_pretrained(folder)
    Wav2Vec2Processor(Wav2Vec2FeatureExtractor(), tokenizer).save_pretrained(folder)
    Wav2Vec2FeatureExtractor().save_pretrained(folder)
    for name in (*GOES, *STAYS):
        file = folder / name
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(f"this is {name}")
    torch.save({"a": torch.ones(2)}, folder / "pickle.bin")
    (folder / "README.md").write_text("# the author's model: WER 3%")
    return folder


def files_of(folder: Path) -> set[str]:
    return {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}


OWN = {"config.json", "model.safetensors", "pruning_plan.json", "modeling_pruned.py"}


def test_what_prune_makes_of_a_ctc_folder_transcribes_and_has_all_that_belongs_to_it(tmp_path):
    folder, out = ctc_folder(tmp_path / "m"), tmp_path / "out"
    (folder / "vocab.txt").symlink_to(folder / "vocab.json")
    (folder / "secret.txt").symlink_to("/etc/hostname")
    found = CliRunner().invoke(
        app, ["prune", str(folder), str(out), "--budget", "macs=70%", "--round-to", "1"]
    )
    assert found.exit_code == 0, found.output
    assert f"head: kept from {folder}" in found.output
    assert "secret.txt was not copied: a link out of the folder" in found.output
    assert files_of(out) - OWN - {"processor_config.json"} == {*GOES, "README_source.md", "vocab.txt"}
    assert not [file for file in out.rglob("*") if file.is_symlink()]
    for name in GOES:
        assert (out / name).read_bytes() == (folder / name).read_bytes()
    assert "author" in (out / "README_source.md").read_text()
    soundfile.write(tmp_path / "a.wav", torch.randn(16_000).numpy() * 0.1, 16_000)
    for name in ("alphabet.json", "added_tokens.json", "special_tokens_map.json", "generation_config.json"):
        (out / name).unlink()  # of this test's making, and no tokenizer's
    assert len(list(transcribe(str(out), [tmp_path / "a.wav"]))) == 1


def test_by_the_api_too_and_a_processor_wins_for_its_files(tmp_path):
    model = load_model(ctc_folder(tmp_path / "m"))
    small = resize(model, trace(model), {"layer.0.ffn": [0, 1]})
    assert {*GOES, "README_source.md"} <= files_of(save_pretrained(small, tmp_path / "out"))
    assert files_of(save_pretrained(small, tmp_path / "bare", companions=False)) == OWN - {
        "pruning_plan.json"
    }
    extractor = Wav2Vec2FeatureExtractor(do_normalize=False)
    save_pretrained(small, tmp_path / "given", processor=extractor)
    assert json.loads((tmp_path / "given" / "preprocessor_config.json").read_text())["do_normalize"] is False
    assert (tmp_path / "given" / "vocab.json").is_file()


def test_another_tokenizer_does_not_mix_with_the_sources_nor_with_its_language_model(tmp_path):
    folder = ctc_folder(tmp_path / "m")
    (folder / "tokenizer.json").write_text("old")
    model = load_model(folder)
    other = Wav2Vec2Processor(Wav2Vec2FeatureExtractor(), character_tokenizer(["xyz"]))
    out = save_pretrained(model, tmp_path / "out", processor=other)
    assert "x" in json.loads((out / "vocab.json").read_text())
    assert not (out / "tokenizer.json").exists()
    assert not (out / "alphabet.json").exists()
    assert not (out / "language_model").exists()
    assert (out / "LICENSE").is_file()
    same = Wav2Vec2Processor(Wav2Vec2FeatureExtractor(), character_tokenizer(["abc def"]))
    assert (save_pretrained(model, tmp_path / "same", processor=same) / "language_model/5gram.bin").is_file()


def test_a_model_that_is_saved_over_its_own_source_keeps_its_files(tmp_path):
    folder = ctc_folder(tmp_path / "m")
    save_pretrained(load_model(folder), folder, overwrite=True)
    assert {*GOES, "README_source.md"} <= files_of(folder)
    load_pretrained(folder)


def test_large_files_stay_and_are_said(tmp_path, monkeypatch):
    from prune_ssl.artifacts import companions

    folder = ctc_folder(tmp_path / "m")
    (folder / "big.txt").write_bytes(b"0" * 3_000)
    monkeypatch.setattr(companions, "MOST_BYTES", 2_000)
    model = load_model(folder)
    found = companions.companions_of(model.prune_ssl_origin.place)
    assert set(found.left_out) >= {"big.txt"}
    assert not (save_pretrained(model, tmp_path / "out") / "big.txt").exists()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_prune_keeps_the_dtype_and_memory_counts_in_it(tmp_path, dtype):
    folder, out = ctc_folder(tmp_path / "m", dtype=dtype), tmp_path / "out"
    before = measured_size_bytes(load_model(folder))  # as prune_ssl would write it, with a seal
    arguments = ["prune", str(folder), str(out), "--budget", "memory=80%", "--round-to", "1"]
    found = CliRunner().invoke(app, arguments)
    assert found.exit_code == 0, found.output
    after = (out / "model.safetensors").stat().st_size
    assert 0.72 * before < after <= 0.8 * before
    stored = load_file(out / "model.safetensors").values()
    assert {value.dtype for value in stored if value.is_floating_point()} == {dtype}
    assert json.loads((out / "config.json").read_text())["dtype"] == str(dtype).removeprefix("torch.")
    assert next(load_pretrained(out).parameters()).dtype == torch.float32


@pytest.mark.parametrize("how", ["--dtype", "budget"])
def test_another_dtype_is_written_and_counted_where_it_is_asked_for(tmp_path, how):
    folder, out = ctc_folder(tmp_path / "m", dtype=torch.float16), tmp_path / "out"
    before = (folder / "model.safetensors").stat().st_size
    asked = ["--budget", "memory=50%", "--dtype", "float32"]
    asked = asked if how == "--dtype" else ["--budget", "memory=50%,dtype=float32"]
    found = CliRunner().invoke(app, ["prune", str(folder), str(out), *asked, "--round-to", "1"])
    assert found.exit_code == 0, found.output
    assert {value.dtype for value in load_file(out / "model.safetensors").values()} == {torch.float32}
    assert 0.8 * before < (out / "model.safetensors").stat().st_size < 1.1 * before
    found = CliRunner().invoke(
        app,
        [
            "prune",
            str(folder),
            str(tmp_path / "no"),
            "--budget",
            "memory=50%,dtype=float16",
            "--dtype",
            "float32",
        ],
    )
    assert found.exit_code == 2
    assert "give one of them" in found.output


def test_mixed_dtypes_stay_mixed_and_memory_counts_each(tmp_path):
    folder = ctc_folder(tmp_path / "m")
    tensors = load_file(folder / "model.safetensors")
    mixed = {name: value.half() if ".encoder." in name else value for name, value in tensors.items()}
    save_file(mixed, folder / "model.safetensors", metadata={"format": "pt"})
    model = load_model(folder)
    before = measured_size_bytes(model)
    graph = trace(model)
    keep = select(model, graph, "memory=80%", round_to=1)
    out = save_pretrained(resize(model, graph, keep), tmp_path / "out")
    for name, value in load_file(out / "model.safetensors").items():
        assert value.dtype == mixed[name].dtype, name
    assert 0.72 * before < (out / "model.safetensors").stat().st_size <= 0.8 * before


def test_what_half_floats_cannot_hold_is_refused_by_name(tmp_path):
    model = load_model(ctc_folder(tmp_path / "m", dtype=torch.float16))
    with torch.no_grad():
        model.lm_head.weight[0, 0] = 1e6
    with pytest.raises(ArtifactError, match=r"lm_head\.weight"):
        save_pretrained(model, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    save_pretrained(model, tmp_path / "out", dtype=torch.float32)


def test_buffers_of_whole_numbers_stay_so(tmp_path):
    model = tiny_model("wav2vec2-conformer", "ForCTC")
    write_in(model, torch.float16)
    stored = load_file(save_pretrained(model, tmp_path / "out") / "model.safetensors")
    kinds = {value.dtype for name, value in stored.items() if name.endswith("num_batches_tracked")}
    assert kinds <= {torch.int64}
    assert next(load_pretrained(tmp_path / "out").parameters()).dtype == torch.float32
