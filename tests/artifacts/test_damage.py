"""A damaged folder is refused with one error, whatever is damaged in it, and code in it is not run."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCTC

from prune_ssl import PruneError, load_model, load_pretrained, resize, save_pretrained, to_stock, trace
from prune_ssl.artifacts.remote_code import FILE
from prune_ssl.models.seals import seal
from tests.support.models import tiny_model

CUTS = {
    "stock": {f"layer.{layer}.ffn": [0, 1, 2] for layer in range(3)},
    "hetero": {"layer.0.ffn": [0, 1, 2], "layer.1.heads": [1]},
}
SIZES = {"one file": "50GB", "shards": "12KB"}


@pytest.fixture(scope="module", params=[(layout, size) for layout in CUTS for size in SIZES], ids="-".join)
def whole(request, tmp_path_factory):
    """Two folders of models that differ in their weights only."""
    layout, size = request.param
    torch.manual_seed(0)
    folders = []
    for name in ("a", "b"):
        dense = tiny_model("hubert", "ForCTC")
        small = resize(dense, trace(dense), CUTS[layout])
        small = to_stock(small) if layout == "stock" else small
        place = tmp_path_factory.mktemp("whole") / name
        folders.append(save_pretrained(small, place, max_shard_size=SIZES[size]))
    assert (folders[0] / FILE).exists() == (layout == "hetero")
    assert (len(weights(folders[0])) > 1) == (size == "shards")
    return folders


@pytest.fixture
def folder(whole, tmp_path):
    return Path(shutil.copytree(whole[0], tmp_path / "copy"))


def weights(folder):
    return sorted(folder.glob("*.safetensors"))


def flip_a_bit(folder, other):
    content = bytearray(weights(folder)[-1].read_bytes())
    content[-3] ^= 4
    weights(folder)[-1].write_bytes(content)


def swap_a_sealed_file(folder, other):
    shutil.copy(weights(other)[0], weights(folder)[0])


def swap_a_bare_file(folder, other):
    """An unsealed shard of the same shapes; a single file without a seal is another tool's work."""
    save_file(load_file(weights(other)[0]), weights(folder)[0], metadata={"format": "pt"})


def exchange_two_files(folder, other):
    first, second = weights(folder)[:2]
    first.rename(folder / "x")
    second.rename(first)
    (folder / "x").rename(second)


def take_a_newer_format(folder, other):
    file = weights(folder)[0]
    with safe_open(file, "pt") as opened:
        metadata = opened.metadata()
    file.write_bytes(file.read_bytes().replace(b'"prune_format_version":"1"', b'"prune_format_version":"2"'))
    assert metadata["prune_format_version"] == "1"


def state(**changes):
    def change(folder, other):
        config = folder / "config.json"
        config.write_text(json.dumps(json.loads(config.read_text()) | changes))

    return change


def give_a_layer_other_widths(folder, other):
    """Of a pruned folder, the sizes of one layer; a stock one states one width for all layers."""
    fields = json.loads((folder / "config.json").read_text())
    if fields.get("pruned_layers"):
        fields["pruned_layers"]["0"]["intermediate_size"] = 5
        state(pruned_layers=fields["pruned_layers"])(folder, other)
    else:
        state(intermediate_size=5)(folder, other)


def state_a_newer_format(folder, other):
    fields = json.loads((folder / "config.json").read_text())
    state(prune_ssl=fields["prune_ssl"] | {"prune_format_version": 2})(folder, other)


def pickle_the_weights(folder, other):
    tensors = {name: value for file in weights(folder) for name, value in load_file(file).items()}
    torch.save(tensors, folder / "pytorch_model.bin")
    for file in folder.glob("model*"):
        file.unlink()


def pickle_under_the_name_of_safetensors(folder, other):
    torch.save(load_file(weights(folder)[0]), weights(folder)[0])


def lose_a_file(folder, other):
    weights(folder)[0].unlink()


DAMAGES = {
    flip_a_bit: r"is damaged: its content is not the content that prune_ssl wrote.* Copy or fetch",
    swap_a_sealed_file: r"belongs to another folder: found the seal \w{12}\.\.\., wanted \w{12}\.\.\.",
    swap_a_bare_file: r"has no seal \(SHA-256\), but .* beside it has one",
    exchange_two_files: r"belongs to another folder",
    take_a_newer_format: r"prune_format_version: found '2', wanted '1' \(a newer prune_ssl",
    state_a_newer_format: r"prune_ssl\.prune_format_version: found 2, wanted 1 \(a newer prune_ssl",
    state(prune_ssl=[]): r"prune_ssl: found \[\], wanted a mapping",
    state(hidden_size=24): r"found shape \[.*wanted \[",
    give_a_layer_other_widths: r"found shape \[.*wanted \[",
    state(vocab_size=12): r"found shape \[.*wanted \[",
    pickle_the_weights: r"pytorch_model\.bin only, which is a pickle",
    pickle_under_the_name_of_safetensors: r"is damaged",
    lose_a_file: r"which is not there|no model\.safetensors",
}


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda each: getattr(each, "__name__", ""))
def test_a_damaged_folder_is_refused_with_one_error(whole, folder, damage):
    if len(weights(folder)) == 1 and damage in (swap_a_bare_file, exchange_two_files):
        return
    load_pretrained(folder)
    damage(folder, whole[1])
    with pytest.raises(PruneError, match=DAMAGES[damage]) as caught:
        load_pretrained(folder)
    assert "\n" not in str(caught.value)


def test_a_folder_from_before_the_seals_loads(whole, tmp_path):
    model = load_model(whole[0])
    model.save_pretrained(tmp_path)
    with safe_open(weights(tmp_path)[0], "pt") as opened:
        assert opened.metadata() == {"format": "pt"}
    found = load_pretrained(tmp_path).state_dict()
    assert all(torch.equal(value, found[name]) for name, value in model.state_dict().items())


def test_an_altered_modelling_file_never_runs_unasked(folder, tmp_path):
    mark = tmp_path / "ran"
    (folder / FILE).write_text(f"open({str(mark)!r}, 'w')\n")
    load_pretrained(folder)
    load_model(folder)
    AutoModelForCTC.from_pretrained(folder)
    assert not mark.exists()


UNASKED = """
import sys
sys.modules["prune_ssl"] = None  # as where it is not installed
import transformers
for trust in (False, None, True):
    try:
        transformers.AutoModelForCTC.from_pretrained(sys.argv[1], trust_remote_code=trust)
    except Exception as error:
        said = str(error)
    print(trust, transformers.__dict__.get("altered", False), "`trust_remote_code=True`" in said)
"""


@pytest.mark.slow
def test_an_altered_modelling_file_never_runs_unasked_where_prune_ssl_is_not(tmp_path):
    small = resize(dense := tiny_model("hubert", "ForCTC"), trace(dense), CUTS["hetero"])
    folder = save_pretrained(small, tmp_path / "model")
    (folder / FILE).write_text("import transformers\ntransformers.altered = True\n")
    command = [sys.executable, "-c", UNASKED, str(folder)]
    run = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True)
    words = [line for line in run.stdout.splitlines() if line.endswith(("True", "False"))]
    refused, unsaid, asked = [line.split()[-3:] for line in words]
    assert refused == ["False", "False", "True"]  # the code did not run, and the error says how to allow it
    assert unsaid == ["None", "False", "True"]
    assert asked == ["True", "True", "False"]


def test_a_resealed_file_is_not_the_listed_one(folder):
    """Somebody changed a tensor and sealed the file anew."""
    file = weights(folder)[0]
    tensors = load_file(file)
    save_file({name: value + 1 for name, value in tensors.items()}, file, metadata={"format": "pt"})
    seal(file)
    with pytest.raises(PruneError, match="belongs to another folder"):
        load_pretrained(folder)
