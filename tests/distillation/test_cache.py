"""The cache of a teacher's answers: the same losses, fewer forwards, and nothing taken for another."""

import copy
import errno
import os
import tempfile

import numpy as np
import pytest
import torch
from faulting.forks import forked, hidden

from prune_ssl import DistillationConfig, DistillationTrainer, PruningConfig, PruningTrainer
from prune_ssl.data import CorruptedDataset, Corruption, SpeechCollator
from prune_ssl.distillation import Distiller
from prune_ssl.distillation.cache import open_cache
from prune_ssl.errors import DistillationError
from tests.support.distilling import FOR_ALL_MODELS, audio, distil
from tests.support.models import tiny_model
from tests.support.training import Tones, Unlabelled, arguments

L1 = {"l1": 1.0}


def heard(teacher):
    """Count the clips that a model hears."""
    counts = []
    teacher.register_forward_pre_hook(lambda _, args: counts.append(len(args[0])))
    return counts


def losses_of(config, teacher, student, *batches):
    distiller = Distiller(config, copy.deepcopy(teacher), student)
    try:
        return [float(distil(distiller, student, each).detach()) for each in batches], distiller
    finally:
        distiller.detach()


def part_of(batch, index, length):
    return {key: value[index : index + 1, :length] for key, value in batch.items()}


@pytest.mark.filterwarnings("ignore:Support for mismatched key_padding_mask")  # of stock WavLM
@pytest.mark.parametrize(
    ("family", "head"),
    [
        ("hubert", "ForCTC"),
        ("hubert", "ForSequenceClassification"),
        ("wavlm", "ForCTC"),
        ("wav2vec2", "ForXVector"),
    ],
)
def test_no_loss_changes_alone_or_in_a_padded_batch(family, head, tmp_path):
    teacher = tiny_model(family, head, "layer")
    student = tiny_model(family, head, "layer", hidden_size=8)
    losses = FOR_ALL_MODELS | ({"embedding": 1.0} if head == "ForXVector" else {})
    losses = {name: weight for name, weight in losses.items() if family != "wavlm" or name != "attention"}
    both = audio(9000, 6000, 9000)
    batches = [part_of(both, 0, 9000), part_of(both, 1, 6000), both]
    if head == "ForXVector":  # transformers' pooling of x-vectors hears some frames of the padding
        batches = batches[:2]
    plain = Distiller(DistillationConfig(losses=losses), copy.deepcopy(teacher), student)
    cached = Distiller(DistillationConfig(losses=losses, teacher_cache=tmp_path), teacher, student)
    cached.learned.load_state_dict(plain.learned.state_dict())
    for found, batch in enumerate(batches):
        for _ in range(2):
            wanted = distil(plain, student, batch)
            student.zero_grad()
            wanted.backward()
            gradients = [parameter.grad for parameter in student.parameters() if parameter.grad is not None]
            student.zero_grad()
            distil(cached, student, batch).backward()
            for name, part in cached.parts.items():
                assert abs(float(part - plain.parts[name])) <= 1e-6 * max(1.0, float(part)), (found, name)
            again = [parameter.grad for parameter in student.parameters() if parameter.grad is not None]
            for one, other in zip(gradients, again, strict=True):
                torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
        assert cached.cached_teacher.found == len(batch["input_values"])


@pytest.mark.parametrize(("family", "layers"), [("sew", [2, 3]), ("wav2vec2-adapter", None)])
def test_frames_fit_where_time_is_squeezed_or_strided(family, layers):
    teacher, student = tiny_model(family, "ForCTC"), tiny_model(family, "ForCTC")
    losses = {name: 1.0 for name in FOR_ALL_MODELS if name != "attention"}
    both = audio(9000, 7100)
    settings = {"losses": losses, "relation_layers": layers}
    (wanted,), _ = losses_of(DistillationConfig(**settings), teacher, student, part_of(both, 0, 9000))
    cached = DistillationConfig(**settings, teacher_cache="memory")
    found, distiller = losses_of(cached, teacher, student, part_of(both, 0, 9000), both, both)
    assert found[0] == pytest.approx(wanted, rel=1e-6)
    assert found[1] == found[2]
    assert distiller.cached_teacher.found == 2


def test_where_the_teacher_hears_padding_the_cache_gives_what_it_says_of_the_clip_alone():
    teacher, student = tiny_model("hubert", "Model", "group"), tiny_model("hubert", "Model", "group")
    both = {"input_values": audio(6000, 4000)["input_values"], "input_lengths": torch.tensor([6000, 4000])}
    cached = Distiller(DistillationConfig(losses=L1, teacher_cache="memory"), teacher, student)
    answer = cached.cached_teacher.cached_answer(both["input_values"], None, both["input_lengths"])
    alone = cached.cached_teacher.answer(both["input_values"][1:, :4000])
    padded = cached.cached_teacher.answer(both["input_values"])
    for layer, state in alone.tapped.states.items():
        frames = state.shape[1]
        torch.testing.assert_close(answer.tapped.states[layer][1, :frames], state[0])
        assert float((answer.tapped.states[layer][1, frames:]).abs().max()) == 0
        assert float((padded.tapped.states[layer][1, :frames] - state[0]).abs().max()) > 1e-3


def test_a_clip_is_known_whatever_batch_it_comes_in():
    teacher, student = tiny_model("hubert", "Model", "layer"), tiny_model("hubert", "Model", "layer")
    distiller = Distiller(DistillationConfig(losses=L1, teacher_cache="memory"), teacher, student)
    generator = np.random.default_rng(0)
    items = [{"input_values": generator.normal(size=n).astype(np.float32)} for n in range(4000, 4600, 50)]
    collate = SpeechCollator(attention_mask=True)
    counts = heard(teacher)
    distil(distiller, student, collate(items))
    assert sum(counts) == len(items)
    for _ in range(5):
        chosen = generator.permutation(len(items))[:5]
        distil(distiller, student, collate([items[index] for index in chosen]))
        assert distiller.cached_teacher.found == 5
    wider = {key: torch.nn.functional.pad(value, (0, 700)) for key, value in collate(items[:2]).items()}
    distil(distiller, student, wider)
    assert sum(counts) == len(items)


# -- never an answer of another


def test_nothing_else_is_taken_for_the_same_teacher_and_taps(tmp_path):
    teacher, student = tiny_model(norm="layer"), tiny_model(norm="layer")
    batch = audio(5000, 4000)

    def found(asked_teacher=teacher, **settings):
        config = DistillationConfig(**({"losses": L1, "layers": [1]} | settings), teacher_cache=tmp_path)
        _, distiller = losses_of(config, asked_teacher, student, batch)
        return distiller.cached_teacher.found

    assert [found(), found()] == [0, 2]
    assert found(temperature=5.0) == 2, "nothing of the teacher depends on it"
    assert found(layers=[2]) == 0
    assert found(losses=L1 | {"logits": 1.0}) == 0
    assert found(losses={"attention": 1.0}) == 0
    other = copy.deepcopy(teacher)
    with torch.no_grad():
        other.hubert.encoder.layers[2].final_layer_norm.bias[3] += 1e-3
    assert found(other) == 0
    sharper = copy.deepcopy(teacher)
    sharper.config.layer_norm_eps = 1e-3
    for module in sharper.modules():
        if isinstance(module, torch.nn.LayerNorm):
            module.eps = 1e-3
    assert found(sharper) == 0
    assert [found(), found(other), found(sharper)] == [2, 2, 2]


def test_weights_samples_and_precision_that_change_are_noticed():
    teacher, student = tiny_model("hubert", "Model", "layer"), tiny_model("hubert", "Model", "layer")
    distiller = Distiller(DistillationConfig(losses=L1, teacher_cache="memory"), teacher, student)
    batch = audio(5000, 4000)
    known = []
    for change in (
        lambda: None,
        lambda: None,
        lambda: batch["input_values"][1, 3999].add_(1e-6),
        lambda: teacher.encoder.layers[0].final_layer_norm.weight.add_(0.1),
    ):
        with torch.no_grad():
            change()
        distil(distiller, student, batch)
        known.append(distiller.cached_teacher.found)
    with torch.autocast("cpu", torch.bfloat16):
        distil(distiller, student, batch)
    assert [*known, distiller.cached_teacher.found] == [0, 2, 1, 0, 0]


# -- the folder


def test_a_folder_outlives_the_object_and_a_broken_file_is_made_anew(tmp_path):
    teacher, student = tiny_model("hubert", "Model", "layer"), tiny_model("hubert", "Model", "layer")
    config = DistillationConfig(losses=L1, teacher_cache=tmp_path / "deep" / "er")
    batch = audio(5000, 4000)
    (first,), _ = losses_of(config, teacher, student, batch)
    files = sorted(tmp_path.rglob("*.safetensors"))
    assert len(files) == 2
    whole = files[0].read_bytes()
    for broken in (whole[: len(whole) // 2], b"", b"\0" * 100):
        files[0].write_bytes(broken)
        (again, last), distiller = losses_of(config, teacher, student, batch, batch)
        assert again == last == first
        assert distiller.cached_teacher.found == 2
        assert files[0].read_bytes() == whole


def test_what_a_killed_process_left_is_no_answer_and_is_cleared_away(tmp_path):
    def put():
        open_cache(tmp_path, 1.0).put("ab", {"x": torch.ones(3)})

    for step in range(1, 20):
        status = forked(put, f"kill@{step}")
        found = open_cache(tmp_path, 1.0).get("ab")
        assert found is None or torch.equal(found["x"], torch.ones(3))
        open_cache(tmp_path, 1.0).put("cd", {"x": torch.ones(3)})
        assert hidden(tmp_path) == []
        if status == 0:
            break
    assert step > 6
    assert torch.equal(found["x"], torch.ones(3))


def test_a_full_disk_ends_the_keeping_and_not_the_run(tmp_path, monkeypatch):
    cache = open_cache(tmp_path, 1.0)

    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.warns(UserWarning, match="or the disk, are full"):
        cache.put("ab", {"x": torch.ones(3)})
    assert cache.full
    assert cache.get("ab") is None
    assert not list(tmp_path.rglob("*.safetensors"))
    monkeypatch.setattr(os, "fsync", lambda *args: (_ for _ in ()).throw(OSError(errno.EIO, "Input/output")))
    with pytest.warns(UserWarning, match="cannot be written any more"):
        open_cache(tmp_path, 1.0).put("ab", {"x": torch.ones(3)})


def test_a_place_that_is_no_folder_is_refused():
    with (
        tempfile.NamedTemporaryFile() as file,
        pytest.raises(DistillationError, match=r"teacher_cache: .* a part of the path is a file"),
    ):
        open_cache(f"{file.name}/below", 1.0)


def fill(cache, name, count):
    for index in range(count):
        cache.put(f"{name}{index}", {"x": torch.ones(200)})


@pytest.mark.parametrize("place", ["memory", "folder"])
def test_the_limit_holds_and_what_is_kept_stays(place, tmp_path):
    cache = open_cache(tmp_path if place == "folder" else place, 3000e-9)
    with pytest.warns(UserWarning, match="full") as said:
        fill(cache, "k", 9)
    kept = [index for index in range(9) if cache.get(f"k{index}") is not None]
    assert kept == list(range(len(kept)))
    assert 0 < len(kept) < 9
    assert len(said) == 1
    assert len(kept) * 800 <= 3000 < (len(kept) + 1) * 900
    if place == "folder":
        assert sum(file.stat().st_size for file in tmp_path.rglob("*.safetensors")) <= 3000
        with pytest.warns(UserWarning, match="full"):
            open_cache(tmp_path, 3000e-9).put("more", {"x": torch.ones(200)})


def test_processes_share_the_limit_of_a_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    for rank in range(2):
        cache = open_cache(tmp_path, 4000e-9)
        with pytest.warns(UserWarning, match="full"):
            fill(cache, rank, 5)
    assert 0 < sum(file.stat().st_size for file in tmp_path.rglob("*.safetensors")) <= 4000


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"teacher_cache": ""}, "wanted a folder"), ({"teacher_cache_gb": 0}, "teacher_cache_gb: found 0")],
)
def test_wrong_settings_are_refused(settings, message):
    with pytest.raises(DistillationError, match=message):
        DistillationConfig(**settings)


# -- training


def trained(folder, cache, data, epochs=3, **more):
    torch.manual_seed(0)
    teacher, student = (
        tiny_model("hubert", "Model", "layer"),
        tiny_model("hubert", "Model", "layer", hidden_size=8),
    )
    counts = heard(teacher)
    trainer = DistillationTrainer(
        model=student,
        args=arguments(folder, max_steps=2 * epochs, logging_steps=2),
        distillation=DistillationConfig(**({"losses": L1} | more), task_weight=0, teacher_cache=cache),
        teacher=teacher,
        train_dataset=data,
    )
    trainer.train()
    return trainer, sum(counts)


@pytest.mark.slow
def test_the_teacher_hears_every_clip_once_and_the_student_learns_the_same(tmp_path):
    plain, all_heard = trained(tmp_path, None, Unlabelled(8))
    cached, once = trained(tmp_path, "memory", Unlabelled(8))
    assert (all_heard, once) == (3 * 8, 8)
    shares = [entry["teacher_cached"] for entry in cached.state.log_history if "teacher_cached" in entry]
    assert shares == [0.0, 1.0, 1.0]
    assert cached.distilled.clips_found == 16
    assert not [entry for entry in plain.state.log_history if "teacher_cached" in entry]
    other = cached.model.state_dict()
    for name, value in plain.model.state_dict().items():
        torch.testing.assert_close(value, other[name], rtol=1e-4, atol=1e-5)
    _, with_folder = trained(tmp_path, tmp_path / "kept", Unlabelled(8))
    _, again = trained(tmp_path, tmp_path / "kept", Unlabelled(8))
    assert (with_folder, again) == (8, 0)


def test_masking_spares_the_pass_that_hears_all(tmp_path):
    settings = {"losses": {"masking": 1.0}, "mask_length": 2}
    data = Unlabelled(8)
    teacher = tiny_model("hubert", "Model", "layer", mask_time_prob=0.1)
    student = tiny_model("hubert", "Model", "layer", mask_time_prob=0.1)
    distiller = Distiller(DistillationConfig(**settings, teacher_cache="memory"), teacher, student)
    audio = torch.stack([data[index]["input_values"] for index in range(4)])
    batch = {"input_values": audio, "attention_mask": torch.ones_like(audio, dtype=torch.long)}
    counts = heard(teacher)
    for _ in range(3):
        inputs = distiller.prepare(batch)
        with distiller.listening():
            outputs = student(**inputs)
        distiller.loss(inputs, outputs)
    assert counts == [4, 4, 4, 4]  # all once without masks, and with them each time


def test_a_teacher_of_clean_audio_is_asked_once_though_the_student_hears_noise(tmp_path):
    noisy = CorruptedDataset(Unlabelled(8), Corruption(cases=("noise",)))
    assert trained(tmp_path, "memory", noisy)[1] == 8


def test_recovery_finds_what_gate_training_asked(tmp_path):
    trainer = PruningTrainer(
        model=tiny_model(num_labels=2, norm="layer"),
        args=arguments(tmp_path, max_steps=4, logging_steps=2),
        pruning=PruningConfig(budget="macs=60%", seconds=1.0, round_to=1, recovery=0.5),
        distillation=DistillationConfig(losses=L1 | {"logits": 1.0}, teacher_cache="memory"),
        train_dataset=Tones(8),
    )
    counts = heard(trainer.distiller.teacher)
    trainer.train()
    trainer.finalize()
    assert sum(counts) == 8


class Changing(Unlabelled):
    def __getitem__(self, index):
        samples = super().__getitem__(index)["input_values"]
        return {"input_values": samples * (1 + 0.1 * torch.rand(()))}


def test_a_cache_that_nothing_is_ever_found_in_is_told_of(tmp_path):
    with pytest.warns(UserWarning, match="in 2 epochs no clip was found in it") as said:
        _, asked = trained(tmp_path, "memory", Changing(8), epochs=4)
    assert asked == 4 * 8
    assert len(said) == 1
