"""Taps, the distiller and the trainers that use it: what is compared, with whom, and what stays untouched."""

import copy

import pytest
import torch
import torchaudio

import prune_ssl
from prune_ssl import DistillationConfig, DistillationTrainer, PruningConfig, PruningTrainer, trace
from prune_ssl.data import SpeechCollator
from prune_ssl.distillation import Distiller, Taps
from prune_ssl.errors import ArtifactError, DistillationError
from tests.support.distilling import FOR_ALL_MODELS, audio, distil
from tests.support.models import tiny_model
from tests.support.training import StopAt, Tones, Unlabelled, arguments

# -- taps


@pytest.mark.parametrize("family", ["wav2vec2", "hubert"])
@pytest.mark.parametrize("norm", ["group", "layer"])
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_taps_see_what_the_model_computes(family, norm, attention):
    model = tiny_model(family, "Model", norm)
    model.set_attn_implementation(attention)
    inputs = audio(6000, 4000)
    taps = Taps(model, range(4), range(1, 4))
    with torch.no_grad(), taps.listening() as tapped:
        model(**inputs)
    taps.remove()
    model.set_attn_implementation("eager")
    with torch.no_grad():
        wanted = model(**inputs, output_hidden_states=True, output_attentions=True)
        projected = model.feature_projection(model.feature_extractor(inputs["input_values"]).mT)
    valid = taps.valid_frames(inputs["attention_mask"].sum(-1), tapped.states[0].shape[1], "encoder")
    assert torch.equal(
        valid, model._get_feature_vector_attention_mask(valid.shape[1], inputs["attention_mask"])
    )
    assert 0 < int((~valid).sum()) < valid.numel()
    projected = projected[0] if isinstance(projected, tuple) else projected
    torch.testing.assert_close(tapped.states[0], projected)
    for layer in (1, 2, 3):
        hidden = wanted.hidden_states[layer]
        torch.testing.assert_close(tapped.states[layer][valid], hidden[valid], rtol=1e-4, atol=1e-5)
        scores = tapped.queries[layer] @ tapped.keys[layer].mT
        maps = scores.masked_fill(~valid[:, None, None, :], -torch.inf).softmax(-1).transpose(1, 2)
        torch.testing.assert_close(maps[valid], wanted.attentions[layer - 1].transpose(1, 2)[valid])


def test_taps_leave_the_model_as_it_was():
    model = tiny_model()
    model(torch.randn(1, 4000))  # transformers puts hooks of its own on at the first call
    keys, hooks = list(model.state_dict()), [len(module._forward_hooks) for module in model.modules()]
    taps = Taps(model, range(4), range(1, 4))
    assert list(model.state_dict()) == keys
    model(torch.randn(1, 4000))
    assert taps._tapped is None  # nothing is kept when nobody listens
    taps.remove()
    assert [len(module._forward_hooks) for module in model.modules()] == hooks


# -- the distiller


def test_a_model_has_nothing_to_learn_from_itself():
    student = tiny_model(num_labels=3)
    losses = {name: 1.0 for name in FOR_ALL_MODELS if name != "log_cosine"}
    distiller = Distiller(DistillationConfig(losses=losses), copy.deepcopy(student), student)
    assert float(distil(distiller, student, audio(6000, 4000)).detach()) < 1e-5
    with torch.no_grad():
        for parameter in student.hubert.encoder.layers[0].attention.parameters():
            parameter.add_(torch.randn_like(parameter))
    distil(distiller, student, audio(6000, 4000))
    assert set(distiller.parts) == set(losses)
    assert min(float(part) for part in distiller.parts.values()) > 1e-6


@pytest.mark.parametrize("head", ["ForSequenceClassification", "ForCTC"])
def test_an_utterance_teaches_the_same_alone_and_in_a_padded_batch(head):
    teacher, student = tiny_model("hubert", head, "layer"), tiny_model("hubert", head, "layer", hidden_size=8)
    distiller = Distiller(DistillationConfig(losses=FOR_ALL_MODELS), teacher, student)
    both = audio(6400, 4000)
    alone = []
    for index, length in enumerate((6400, 4000)):
        distil(distiller, student, {key: value[index : index + 1, :length] for key, value in both.items()})
        alone.append(distiller.parts)
    distil(distiller, student, both)
    for name, part in distiller.parts.items():
        mean = (alone[0][name] + alone[1][name]) / 2
        assert abs(float(part - mean)) <= 1e-6 * max(1.0, float(mean)), name


def test_lengths_replace_an_attention_mask_for_models_that_take_none():
    teacher, student = tiny_model("hubert", "Model"), tiny_model("hubert", "Model")
    distiller = Distiller(DistillationConfig(losses={"l1": 1.0}), teacher, student)
    inputs = {"input_values": audio(6000, 4000)["input_values"]}
    whole = float(distil(distiller, student, inputs).detach())
    masked = float(
        distil(distiller, student, inputs | {"input_lengths": torch.tensor([6000, 4000])}).detach()
    )
    assert whole != pytest.approx(masked, rel=1e-3)
    distiller.parts.clear()
    heard = inputs | {"teacher_input_values": audio(6000, 4000, seed=2)["input_values"]}
    assert float(distil(distiller, student, heard).detach()) != pytest.approx(whole, rel=1e-3)


def test_default_layers_are_the_ends_and_thirds_of_both_models():
    teacher = tiny_model(num_hidden_layers=6)
    student = tiny_model(num_hidden_layers=3)
    config = DistillationConfig(losses={"l1": 1.0, "layer_gram": 1.0})
    distiller = Distiller(config, teacher, student)
    assert distiller.layers == ((0, 0), (1, 2), (2, 4), (3, 6))
    assert distiller.relation_layers == ((0, 0), (1, 2), (2, 4), (3, 6))
    heads = DistillationConfig(losses={"l1": 1.0}, projection="heads")
    assert Distiller(heads, teacher, student).layers == ((3, 2), (3, 4), (3, 6))


@pytest.mark.parametrize(
    ("kind", "width", "names"),
    [
        ("auto", 16, set()),
        ("auto", 8, {"first", "rest"}),
        ("shared", 16, {"first", "rest"}),
        ("per_layer", 8, {"0", "1", "2", "3"}),
        ("heads", 8, {"trunk", "0", "1", "2"}),
    ],
)
def test_projections_join_widths_and_start_as_the_identity(kind, width, names):
    teacher, student = tiny_model(), tiny_model(hidden_size=width)
    distiller = Distiller(DistillationConfig(projection=kind), teacher, student)
    assert set(distiller.projections.maps) == names
    state = torch.randn(1, 3, width)
    for found in distiller.projections(dict.fromkeys(range(4), state)):
        assert found.shape == (1, 3, 16)
        if kind != "heads":
            assert torch.equal(found[..., :width], state)
    assert distil(distiller, student, audio(4000)).requires_grad


# -- refusals


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"losses": {"l2": 1.0}}, r"there is no loss 'l2'; did you mean 'l1'"),
        ({"losses": {}}, "none given"),
        ({"losses": {"l1": -1.0}}, r"losses.l1: found weight -1.0"),
        ({"temperature": 0}, "temperature: found 0, wanted above 0"),
        ({"enhancement_units": 0}, "enhancement_units: found 0, wanted 1 or more"),
        ({"task_weight": -1}, "task_weight: found -1"),
        ({"layers": [(1, 2, 3)]}, "layers: found"),
        ({"layers": [0, 4], "layer_weights": [1.0]}, "one for each of `layers`"),
        ({"projection": "linear"}, "projection: found 'linear'"),
        ({"gram_scale": "half"}, "gram_scale"),
    ],
)
def test_a_wrong_setting_is_refused_when_it_is_made(settings, message):
    with pytest.raises(DistillationError, match=message):
        DistillationConfig(**settings)


def test_models_that_do_not_fit_are_refused():
    teacher, student = tiny_model(), tiny_model(hidden_size=8)
    with pytest.raises(DistillationError, match="states have 8 channels, the teacher's 16"):
        Distiller(DistillationConfig(projection="none"), teacher, student)
    relations = DistillationConfig(projection="none", losses={"layer_gram": 1.0})
    assert distil(Distiller(relations, teacher, student), student, audio(4000)).requires_grad
    with pytest.raises(DistillationError, match="layer 7 is asked of a HubertModel with 3 encoder layers"):
        Distiller(DistillationConfig(layers=[0, 7]), teacher, student)
    other = tiny_model(num_labels=2)
    distiller = Distiller(DistillationConfig(losses={"logits": 1.0}), teacher, other)
    with pytest.raises(DistillationError, match=r"logits: the student gives \(1, 2\), the teacher \(1, 5\)"):
        distil(distiller, other, audio(4000))
    distiller = Distiller(DistillationConfig(losses={"logits": 1.0}, logit_groups=[3, 3]), teacher, student)
    with pytest.raises(DistillationError, match="logit_groups: 6 logits in groups, but the models have 5"):
        distil(distiller, student, audio(4000))
    with pytest.raises(DistillationError, match="was not heard"):
        distiller.loss(audio(4000), None)
    bare = tiny_model("hubert", "Model")
    distiller = Distiller(DistillationConfig(losses={"logits": 1.0}), teacher, bare)
    with pytest.raises(DistillationError, match="a loss on logits needs models that give them"):
        distil(distiller, bare, audio(4000))
    frozen = tiny_model().requires_grad_(False)
    distiller = Distiller(DistillationConfig(), teacher, frozen)
    with pytest.raises(DistillationError, match="carry no gradient"):
        distil(distiller, frozen, audio(4000))


# -- training


def count_losses(monkeypatch):
    calls = []
    original = Distiller.loss
    monkeypatch.setattr(
        Distiller, "loss", lambda self, *args: (calls.append(self.teacher), original(self, *args))[1]
    )
    return calls


@pytest.mark.parametrize("checkpointing", [False, True])
def test_pruning_learns_from_the_dense_model_in_both_phases(tmp_path, monkeypatch, checkpointing):
    calls = count_losses(monkeypatch)
    model = tiny_model(num_labels=2)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    trainer = PruningTrainer(
        model=model,
        args=arguments(tmp_path, max_steps=6, logging_steps=2, activation_checkpointing=checkpointing),
        pruning=PruningConfig(budget="macs=60%", seconds=1.0, round_to=1, recovery=0.5),
        distillation=DistillationConfig(
            losses={"l1": 1.0, "cosine": 1.0, "logits": 0.5, "attention": 1.0, "layer_gram": 0.01}
        ),
        train_dataset=Tones(16),
        eval_dataset=Tones(4),
    )
    trainer.train()
    small = trainer.finalize()
    teacher = trainer.distiller.teacher
    assert len(calls) == 6 + 3
    assert not teacher.training
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    assert all(torch.equal(value, before[key]) for key, value in teacher.state_dict().items())
    assert any(not torch.equal(model.state_dict()[key], before[key]) for key in before if "classifier" in key)
    assert trace(small).cost(seconds=1.0).macs <= 0.6 * trainer.graph.cost(seconds=1.0).macs
    logged = trainer.state.log_history[0]
    assert {"loss_task", "loss_l1", "loss_cosine", "loss_logits", "loss_attention"} <= logged.keys()
    prune_ssl.save_pretrained(small, tmp_path / "small")
    again = prune_ssl.load_pretrained(tmp_path / "small")
    wave = torch.randn(1, 4000)
    assert torch.equal(again(wave).logits, small(wave).logits)


def test_a_layer_without_heads_is_left_out_of_the_attention_loss(tmp_path):
    teacher = tiny_model(num_labels=2)
    student = prune_ssl.resize(teacher, trace(teacher), {"layer.1.heads": []})
    distiller = Distiller(DistillationConfig(losses={"attention": 1.0}), teacher, student)
    assert distiller._student_taps.maps == [1, 3]
    assert distil(distiller, student, audio(4000)).requires_grad


@pytest.mark.parametrize("projection", ["per_layer", "heads"])
def test_a_bare_student_learns_its_teacher_without_labels(tmp_path, projection):
    teacher, student = tiny_model("hubert", "Model"), tiny_model("hubert", "Model", hidden_size=8)
    keys = set(student.state_dict())
    config = DistillationConfig(
        losses={"l1": 1.0, "log_cosine": 1.0}, projection=projection, task_weight=0, learning_rate=2e-2
    )
    trainer = DistillationTrainer(
        model=student,
        args=arguments(tmp_path, max_steps=30, learning_rate=2e-3, save_strategy="steps", save_steps=30),
        distillation=config,
        teacher=teacher,
        train_dataset=Unlabelled(16),
        eval_dataset=Unlabelled(4),
    )
    before = trainer.evaluate()["eval_loss"]
    start = {key: value.clone() for key, value in trainer.distiller.projections.state_dict().items()}
    trainer.train()
    assert trainer.evaluate()["eval_loss"] < 0.9 * before
    learned = trainer.distiller.projections.state_dict()
    assert all(not torch.equal(learned[key], start[key]) for key in start)
    group = trainer.optimizer.param_groups[-1]
    assert (group["initial_lr"], group["weight_decay"]) == (2e-2, 0)
    saved = prune_ssl.load_model(tmp_path / "checkpoint-30")
    assert set(saved.state_dict()) == keys == set(student.state_dict())


def test_an_interrupted_run_resumes_to_the_same_end(tmp_path):
    ends = []
    for stops in ((8,), (4, 8)):
        torch.manual_seed(0)
        teacher, student = tiny_model("hubert", "Model"), tiny_model("hubert", "Model", hidden_size=8)
        for stop in stops:
            trainer = DistillationTrainer(
                model=student,
                args=arguments(tmp_path / str(len(stops)), max_steps=8, save_strategy="steps", save_steps=4),
                distillation=DistillationConfig(task_weight=0),
                teacher=teacher,
                train_dataset=Unlabelled(16),
                callbacks=[StopAt(stop)],
            )
            trainer.train(resume_from_checkpoint=stop != stops[0])
            assert trainer.state.global_step == stop
            student = tiny_model("hubert", "Model", hidden_size=8)
        ends.append(trainer.model.state_dict() | trainer.distiller.learned.state_dict())
    assert all(torch.equal(ends[0][key], ends[1][key]) for key in ends[0])
    (tmp_path / "1/checkpoint-8/distillation.safetensors").unlink()
    with pytest.raises(ArtifactError, match=r"distillation\.safetensors is missing"):
        trainer.train(resume_from_checkpoint=str(tmp_path / "1/checkpoint-8"))


def test_evaluation_gives_the_models_own_loss_and_ignores_what_is_for_the_teacher(tmp_path):
    class Heard(Tones):
        def __getitem__(self, index):
            item = self.items[index]
            return item | {"teacher_input_values": item["input_values"], "input_lengths": torch.tensor(4000)}

    model = tiny_model(num_labels=2)
    args = arguments(tmp_path, max_steps=2, remove_unused_columns=False)
    config = DistillationConfig(losses={"logits": 1.0})
    trainer = DistillationTrainer(model=model, args=args, distillation=config, eval_dataset=Heard(4))
    plain = DistillationTrainer(model=model, args=args, eval_dataset=Tones(4))
    assert trainer.evaluate()["eval_loss"] == plain.evaluate()["eval_loss"]
    trainer.train_dataset = Heard(4)
    trainer.train()


def test_a_teacher_without_losses_is_refused(tmp_path):
    with pytest.raises(DistillationError, match="a teacher but no losses"):
        DistillationTrainer(model=tiny_model(), args=arguments(tmp_path), teacher=tiny_model())


def test_states_of_a_width_that_is_pruned_cannot_be_compared(tmp_path):
    pruning = PruningConfig(budget="params=90%", kinds=("hidden", "ffn"), round_to=1)
    settings = {"model": tiny_model(), "args": arguments(tmp_path), "pruning": pruning}
    with pytest.raises(DistillationError, match="units of kind 'hidden' are to be pruned"):
        PruningTrainer(distillation=DistillationConfig(), **settings)
    PruningTrainer(distillation=DistillationConfig(losses={"logits": 1.0}), **settings)


def test_models_that_read_no_waveforms_or_are_not_of_transformers_are_refused():
    for model in (tiny_model("wav2vec2-bert", "ForCTC"), torchaudio.models.hubert_base()):
        with pytest.raises(DistillationError, match="wanted a model of transformers that reads waveforms"):
            Distiller(DistillationConfig(losses={"logits": 1.0}), model, copy.deepcopy(model))


def test_frames_are_those_of_their_place():
    waves = audio(9000, 5000)
    for family in ("sew", "wav2vec2-adapter"):
        model = tiny_model(family, "ForCTC")
        taps = Taps(model, (0, 1), ())
        with torch.no_grad(), taps.listening() as tapped:
            logits = model(waves["input_values"][:1]).logits
        found = [taps.frames(9000, stage) for stage in ("input", "encoder", "output")]
        assert found[:2] == [tapped.states[0].shape[1], tapped.states[1].shape[1]]
        assert found[2] >= logits.shape[1]
        assert len(set(found)) == 2


@pytest.mark.filterwarnings("ignore:Support for mismatched key_padding_mask")  # of stock WavLM
@pytest.mark.parametrize(
    "family", ["wavlm", "data2vec-audio", "sew", "sew-d", "wav2vec2-conformer", "wav2vec2-adapter"]
)
def test_other_families_are_distilled(family):
    teacher, student = tiny_model(family, "ForCTC"), tiny_model(family, "ForCTC")
    layers = range(2, 4) if family.startswith("sew") else None
    losses = {name: 1.0 for name in FOR_ALL_MODELS if name != "attention"}
    config = DistillationConfig(losses=losses, relation_layers=layers)
    distiller = Distiller(config, teacher, student)
    both = audio(7000, 5000)
    distil(distiller, student, both).backward()
    assert all(float(part) > 0 for part in distiller.parts.values())
    maps = DistillationConfig(losses={"attention": 1.0})
    if family in ("data2vec-audio", "sew", "wav2vec2-adapter"):
        assert Distiller(maps, teacher, student).relation_layers
    else:
        with pytest.raises(DistillationError, match="relative positions"):
            Distiller(maps, teacher, student)


def test_without_the_task_labels_do_not_matter(tmp_path):
    losses = []
    for flip in (False, True):
        torch.manual_seed(0)
        data = Tones(8)
        for item in data.items:
            item["labels"] = 1 - item["labels"] if flip else item["labels"]
        torch.manual_seed(1)
        student, teacher = tiny_model(num_labels=2), tiny_model(num_labels=2)
        config = DistillationConfig(losses={"logits": 1.0}, task_weight=0)
        args = arguments(tmp_path, max_steps=3, seed=1)
        trainer = DistillationTrainer(
            model=student, args=args, distillation=config, teacher=teacher, train_dataset=data
        )
        losses.append(trainer.train().training_loss)
    assert losses[0] == losses[1]


def test_collated_lengths_are_samples_without_padding():
    items = [{"input_values": torch.randn(n).numpy(), "labels": 0} for n in (700, 500)]
    batch = SpeechCollator(lengths=True)(items)
    assert batch["input_lengths"].tolist() == [700, 500]
    assert "input_lengths" not in SpeechCollator()(items)
