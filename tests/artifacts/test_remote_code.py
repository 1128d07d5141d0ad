"""A pruned folder loads with transformers alone: in a process that has no prune_ssl, bit for bit."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import Wav2Vec2FeatureExtractor

import prune_ssl
from prune_ssl.artifacts.remote_code import FILE, modelling_file
from prune_ssl.distillation import reuse_attention
from prune_ssl.families.wav2vec2 import HEADS
from tests.support.models import batch, first_output, tiny_model

ALONE = """
import sys
sys.modules["prune_ssl"] = None  # as where it is not installed
import torch, transformers
from safetensors.torch import load_file, save_file
torch.set_num_threads(1)
for folder in sys.argv[2:]:
    auto = getattr(transformers, open(folder + "/auto.txt").read())
    model = auto.from_pretrained(folder, trust_remote_code=True).eval()
    given = load_file(folder + "/given.safetensors")
    with torch.no_grad():
        found = model(**given)[0]
    save_file({"found": found.contiguous()}, folder + "/found.safetensors")
    if sys.argv[1] == "again":
        model.save_pretrained(folder + "/again")
        with torch.no_grad():
            again = auto.from_pretrained(folder + "/again", trust_remote_code=True).eval()(**given)[0]
        assert torch.equal(found, again)
"""


def pruned(family, head, norm="group", kinds=None, budget="params=75%"):
    model = tiny_model(family, head, norm)
    graph = prune_ssl.trace(model)
    keep = prune_ssl.select(model, graph, budget, "random", 1, kinds)
    return prune_ssl.resize(model, graph, keep).eval()


def saved(model, folder: Path):
    """Save a model with an input and what it gives, and return the folder."""
    prune_ssl.save_pretrained(model, folder, processor=Wav2Vec2FeatureExtractor())
    given = batch(model, 6000)
    save_file(given, folder / "given.safetensors")
    save_file({"wanted": first_output(model, **given).contiguous()}, folder / "wanted.safetensors")
    heads = (*HEADS, ("ForAudioClassification", "AutoModelForAudioClassification"))
    auto = next((auto for suffix, auto in heads if type(model).__name__.endswith(suffix)), "AutoModel")
    (folder / "auto.txt").write_text(auto)
    return folder


def load_alone(folders, mode="once"):
    run = subprocess.run(
        [sys.executable, "-c", ALONE, mode, *map(str, folders)], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr[-3000:]
    for folder in folders:
        found = load_file(folder / "found.safetensors")["found"]
        assert torch.equal(found, load_file(folder / "wanted.safetensors")["wanted"]), folder


@pytest.mark.slow
def test_a_folder_loads_without_prune_ssl_and_can_be_saved_again(tmp_path):
    whole = ("conv", "heads", "ffn", "hidden")
    emptied = prune_ssl.resize(model := tiny_model("hubert"), prune_ssl.trace(model), {"layer.0.heads": []})
    narrow = prune_ssl.resize(
        model := tiny_model("wav2vec2", "ForCTC"), prune_ssl.trace(model), {"layer.0.ffn": [1]}
    )
    models = {
        "narrow": narrow.eval(),  # one neuron shifts all later weights in the file
        "hubert": pruned("hubert", "ForCTC", "layer", whole),
        "wavlm": pruned("wavlm", "ForSequenceClassification", "group", whole),
        "emptied": emptied.eval(),
        "reused": reuse_attention(tiny_model("hubert")).eval(),
    }
    load_alone([saved(model, tmp_path / name) for name, model in models.items()], "again")


def test_stock_models_are_saved_without_code(tmp_path):
    folder = prune_ssl.save_pretrained(tiny_model("hubert"), tmp_path / "model")
    assert not (folder / FILE).exists()
    assert "auto_map" not in (folder / "config.json").read_text()


def test_no_code_of_a_folder_runs_where_prune_ssl_is(tmp_path):
    folder = prune_ssl.save_pretrained(pruned("hubert", "ForCTC"), tmp_path / "model")
    (folder / FILE).write_text("raise SystemExit('code of a folder was run')\n")
    loaded = prune_ssl.load_pretrained(folder)
    assert type(loaded).__module__ == "prune_ssl.models.pruned"


def test_the_file_defines_no_name_twice_and_uses_none_that_is_missing():
    """Its parts come from modules that know nothing of each other's private names."""
    text = modelling_file(pruned("wavlm", "ForCTC"), "1.2.3")
    names = [line.split("(")[0].split(":")[0] for line in text.splitlines() if line[:4] in ("def ", "clas")]
    assert len(names) == len(set(names))
    assert "import prune_ssl" not in text
    assert "from prune_ssl" not in text
    ruff = [sys.executable, "-m", "ruff", "check", "--isolated", "--select", "F", "-"]
    found = subprocess.run(ruff, input=text, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout
