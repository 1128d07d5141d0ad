"""Every task says in one line what becomes of a model's head, and keeps it where it fits."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import yaml
from safetensors.torch import load_file
from transformers import AutoModelForAudioXVector, Wav2Vec2FeatureExtractor
from typer.testing import CliRunner

from prune_ssl import load_pretrained, resize, save_pretrained, trace
from prune_ssl.cli.app import app
from prune_ssl.errors import ModelError
from prune_ssl.models import load_model
from prune_ssl.pipeline import run
from prune_ssl.pipeline.preparation import prepare
from prune_ssl.recipes import load_recipe
from prune_ssl.recipes.schema import make_recipe
from prune_ssl.tasks import Recognition
from prune_ssl.tasks.tokenizers import character_tokenizer
from tests.support.models import tiny_model

TEXTS = ("ab cd", "dc ba")


@pytest.fixture
def corpus(tmp_path):
    """Clips of half a second, with a label, a speaker and a text each."""
    generator = np.random.default_rng(0)
    for split in ("train", "validation", "test"):
        folder = tmp_path / "corpus" / split
        folder.mkdir(parents=True)
        rows = ["file_name,label,speaker,text"]
        for index in range(8):
            soundfile.write(folder / f"{index}.wav", 0.1 * generator.standard_normal(8_000), 16_000)
            rows.append(f"{index}.wav,{'no' if index % 2 else 'yes'},s{index // 4},{TEXTS[index % 2]}")
        (folder / "metadata.csv").write_text("\n".join(rows) + "\n")
    return tmp_path / "corpus"


def model_folder(folder: Path, family, head, tokenizer=None, **fields) -> Path:
    model = tiny_model(family, head, **fields)
    model.save_pretrained(folder)
    Wav2Vec2FeatureExtractor().save_pretrained(folder)
    if tokenizer is not None:
        tokenizer.save_pretrained(folder)
    return folder


def labels(*names):
    return {
        "num_labels": len(names),
        "id2label": dict(enumerate(names)),
        "label2id": {n: i for i, n in enumerate(names)},
    }


TARGETS = {"joint": "label|speaker", "slots": "label|speaker"}


def recipe_for(corpus, task, model, **more):
    changes = {"target": TARGETS[task]} if task in TARGETS else {}
    return make_recipe(
        {
            "name": "tiny",
            "task": task,
            "model": model,
            "data": {"path": str(corpus), "augment": False, **changes},
            "dense": {"steps": 1, "learning_rate": 1e-3},
            "pruning": {
                "budget": "macs=90%",
                "steps": 1,
                "learning_rate": 1e-3,
                "round_to": 1,
                "seconds": 1.0,
            },
            "output": str(corpus.parent / "out"),
            **more,
        }
    )


def head_line(recipe):
    """The line that a dry run says, and the model that would be trained."""
    said: list[str] = []
    ready = prepare(recipe, False, said.append, only_check=True)
    (line,) = (each.strip() for each in said if each.strip().startswith("head: "))
    return line, ready


@pytest.mark.parametrize(("extra", "kept"), [(0, True), (4, True), (-1, False), (-3, False)])
def test_a_ctc_head_stays_with_as_many_outputs_as_tokens_or_more(tmp_path, corpus, extra, kept):
    tokenizer = character_tokenizer(TEXTS)
    rows = len(tokenizer) + extra
    folder = model_folder(tmp_path / "m", "wav2vec2", "ForCTC", tokenizer, vocab_size=rows, pad_token_id=0)
    line, ready = head_line(recipe_for(corpus, "ctc", {"name": str(folder)}))
    sizes = f"({rows} outputs, {len(tokenizer)} tokens)"
    assert line == (f"head: kept from {folder} {sizes}" if kept else f"head: NEW {sizes}")
    stored = load_file(folder / "model.safetensors")["lm_head.weight"]
    assert (torch.equal(ready.model.lm_head.weight, stored)) == kept
    assert ready.model.config.vocab_size == (rows if kept else len(tokenizer))
    if kept:
        made = ready.task.judge(ready.corpus.clips.splits["test"], ready.model)
        assert made is not None
        ids = np.array([0, rows - 1, 3, 3, rows - 1])
        assert ready.task.decode(ids).strip() in (
            tokenizer.decode([3]),
            tokenizer.decode([rows - 1, 0, 3, 0, rows - 1]),
        )
        out = save_pretrained(ready.model, tmp_path / "again")
        assert load_pretrained(out).lm_head.out_features == rows


def test_tokens_that_ctc_never_emits_need_no_output():
    tokenizer = character_tokenizer(TEXTS)
    rows = len(tokenizer)
    tokenizer.add_special_tokens({"bos_token": "<s>", "eos_token": "</s>"})
    task = Recognition(tokenizer, of_model=True)
    assert task.head.fits(tiny_model("wav2vec2", "ForCTC", vocab_size=rows))
    assert not task.head.fits(tiny_model("wav2vec2", "ForCTC", vocab_size=rows - 1))


def test_a_ctc_folder_without_tokenizer_is_refused_until_one_is_named(tmp_path, corpus):
    folder = model_folder(tmp_path / "m", "wav2vec2", "ForCTC", vocab_size=9)
    with pytest.raises(ModelError, match=r"without a tokenizer .*model\.tokenizer=FOLDER"):
        head_line(recipe_for(corpus, "ctc", {"name": str(folder)}))
    character_tokenizer(TEXTS).save_pretrained(tmp_path / "t")
    line, _ = head_line(recipe_for(corpus, "ctc", {"name": str(folder), "tokenizer": str(tmp_path / "t")}))
    assert line.startswith(f"head: kept from {folder}")
    line, _ = head_line(recipe_for(corpus, "ctc", {"name": str(folder), "head": "drop"}))
    assert line == f"head: NEW (the head of {folder} was dropped by request)"


def test_another_tokenizer_than_the_models_makes_a_new_head(tmp_path, corpus):
    tokenizer = character_tokenizer(TEXTS)
    folder = model_folder(tmp_path / "m", "wav2vec2", "ForCTC", tokenizer, vocab_size=len(tokenizer))
    for texts, start in ((("abcdxyz",), "NEW (its tokenizer is another one)"), (TEXTS, "kept from")):
        character_tokenizer(texts).save_pretrained(tmp_path / "t")
        line, _ = head_line(
            recipe_for(corpus, "ctc", {"name": str(folder), "tokenizer": str(tmp_path / "t")})
        )
        assert line.startswith(f"head: {start}")


OTHER_TASKS = [
    ("ctc", "wav2vec2", "ForSequenceClassification", "has a classification head, the task wants a CTC head"),
    ("ctc", "hubert", "Model", "has no head"),
    ("classification", "wav2vec2", "ForCTC", "has a CTC head"),
    ("classification", "wav2vec2", "ForPreTraining", "has a pre-training head"),
    ("slots", "hubert", "ForCTC", "has a CTC head"),
    ("joint", "hubert", "ForSequenceClassification", "has a classification head"),
    ("speaker_verification", "hubert", "Model", "has no head"),
    ("speaker_verification", "wavlm", "ForCTC", "has a CTC head, the task wants an x-vector head"),
]


@pytest.mark.parametrize(("task", "family", "head", "words"), OTHER_TASKS)
def test_the_head_of_another_task_is_said_by_the_dry_run_with_a_dense_phase_too(
    tmp_path, corpus, task, family, head, words
):
    folder = model_folder(tmp_path / "m", family, head)
    line, _ = head_line(recipe_for(corpus, task, {"name": str(folder)}))
    assert line.startswith(f"head: NEW ({folder} {words}")
    path = tmp_path / "r.yaml"
    recipe = recipe_for(corpus, task, {"name": str(folder)})
    path.write_text(yaml.safe_dump(json.loads(recipe.model_dump_json())))
    found = CliRunner().invoke(app, ["run", str(path), "--dry-run"])
    assert found.exit_code == 0, found.output
    assert "head: NEW" in found.output


def test_a_model_of_the_recipes_own_has_a_new_head(corpus):
    config = {"conv_dim": [8] * 7, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config |= {"intermediate_size": 24, "num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2}
    line, _ = head_line(recipe_for(corpus, "classification", {"family": "hubert", "config": config}))
    assert line == "head: NEW (the model is made by the recipe)"


@pytest.mark.parametrize(
    ("names", "line", "rows"),
    [
        (("yes", "no"), "kept from {} (2 labels)", [0, 1]),
        (("no", "yes"), "kept from {} (2 labels)", [0, 1]),
        (("up", "yes", "down", "no"), "kept from {} (2 of its 4 labels, found by name)", [3, 1]),
        (("LABEL_0", "LABEL_1"), "NEW (the 2 labels of {} do not have 'no', 'yes')", None),
        (("yes", "nein"), "NEW (the 2 labels of {} do not have 'no')", None),
    ],
)
def test_a_classifier_keeps_the_rows_of_its_labels_by_name(tmp_path, corpus, names, line, rows):
    folder = model_folder(tmp_path / "m", "hubert", "ForSequenceClassification", **labels(*names))
    found, ready = head_line(recipe_for(corpus, "classification", {"name": str(folder)}))
    assert found == "head: " + line.format(folder)
    stored = load_file(folder / "model.safetensors")
    assert ready.model.classifier.out_features == 2
    if rows is not None:
        assert torch.equal(ready.model.classifier.weight, stored["classifier.weight"][rows])
        assert torch.equal(ready.model.classifier.bias, stored["classifier.bias"][rows])
        order = [ready.model.config.id2label[index] for index in range(2)]
        assert [names[row] for row in rows] == order
        with torch.no_grad():
            dense = load_model(folder).eval()
            audio = torch.randn(1, 8_000)
            assert torch.allclose(ready.model.eval()(audio).logits, dense(audio).logits[:, rows], atol=1e-6)


def test_speakers_and_joint_labels_are_kept_in_the_models_order(tmp_path, corpus):
    folder = model_folder(tmp_path / "v", "wav2vec2", "ForXVector", **labels("s1", "s0"))
    line, ready = head_line(recipe_for(corpus, "speaker_verification", {"name": str(folder)}))
    assert line == f"head: kept from {folder}"
    assert ready.task.speakers == ("s1", "s0")
    stored = load_file(folder / "model.safetensors")
    assert torch.equal(ready.model.objective.weight, stored["objective.weight"])
    folder = model_folder(tmp_path / "w", "wav2vec2", "ForXVector", **labels("other", "speakers"))
    line, ready = head_line(recipe_for(corpus, "speaker_verification", {"name": str(folder)}))
    assert line.startswith(f"head: kept from {folder} (its loss is NEW: the 2 labels of")
    names = ("speaker=s0", "speaker=s1", "label=yes", "label=no")
    folder = model_folder(tmp_path / "j", "hubert", "ForXVector", **labels(*names))
    line, ready = head_line(recipe_for(corpus, "joint", {"name": str(folder)}))
    assert line == f"head: kept from {folder}"
    assert ready.task.labels == names


def test_a_task_without_labels_says_that_a_head_goes(tmp_path, corpus):
    folder = model_folder(tmp_path / "m", "hubert", "ForCTC")
    distil = {"dense": None, "distillation": {"losses": {"l1": 1.0}}}
    line, _ = head_line(recipe_for(corpus, "representation", {"name": str(folder)}, **distil))
    assert line == "head: dropped (a CTC head): the task trains a bare model"


def test_a_family_that_is_not_the_checkpoints_is_one_error(tmp_path, corpus):
    folder = model_folder(tmp_path / "m", "wav2vec2", "Model")
    for family in ("hubert", "wavlm"):
        with pytest.raises(ModelError, match=f"model.family is {family}, but .* is a wav2vec2 model"):
            head_line(recipe_for(corpus, "classification", {"name": str(folder), "family": family}))
    for given in ({}, {"family": "wav2vec2"}):
        head_line(recipe_for(corpus, "classification", {"name": str(folder), **given}))
    pruned = tiny_model("wav2vec2", "Model")
    out = save_pretrained(resize(pruned, trace(pruned), {"layer.0.ffn": [0]}), tmp_path / "p")
    Wav2Vec2FeatureExtractor().save_pretrained(out)
    given = {"name": str(out), "family": "wav2vec2", "allow_pruned": True}
    head_line(recipe_for(corpus, "classification", given))


def test_a_written_recipe_of_a_named_model_says_no_family_that_nobody_gave(tmp_path, corpus):
    recipe = recipe_for(corpus, "classification", {"name": "some/model"})
    written = yaml.safe_dump(json.loads(recipe.model_dump_json()))
    (tmp_path / "recipe.yaml").write_text(written)
    again = load_recipe(tmp_path / "recipe.yaml")
    assert again == recipe
    assert "family" not in again.model.model_fields_set
    made = recipe_for(corpus, "classification", {"family": "wavlm"})
    assert json.loads(made.model_dump_json())["model"]["family"] == "wavlm"


def test_a_head_of_the_authors_own_stops_a_run_until_it_is_dropped(tmp_path, corpus):
    folder = model_folder(tmp_path / "m", "wav2vec2", "ForSequenceClassification")
    fields = json.loads((folder / "config.json").read_text()) | {"architectures": ["MyClassifier"]}
    (folder / "config.json").write_text(json.dumps(fields))
    with pytest.raises(ModelError, match=r"classifier\.bias.*model\.head: drop"):
        head_line(recipe_for(corpus, "classification", {"name": str(folder)}))
    line, _ = head_line(recipe_for(corpus, "classification", {"name": str(folder), "head": "drop"}))
    assert "dropped by request" in line


@pytest.mark.parametrize("more", [{}, {"dtype": "float32"}], ids=str)
def test_a_run_writes_the_dtype_and_the_files_of_its_source(tmp_path, corpus, more):
    folder = tmp_path / "m"
    tiny_model(**labels("no", "yes")).half().save_pretrained(folder)
    Wav2Vec2FeatureExtractor().save_pretrained(folder)
    for name in ("LICENSE", "README.md", "optimizer.pt", "lm/words.txt"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(name)
    report = {"seconds": [0.5], "iterations": 3, "min_seconds": 0}
    said: list[str] = []
    recipe = recipe_for(corpus, "classification", {"name": str(folder), **more}, report=report)
    made = run(recipe, say=said.append)
    assert f"  head: kept from {folder} (2 labels)" in said
    stored = load_file(made.model_folder / "model.safetensors")
    assert {value.dtype for value in stored.values()} == {torch.float32 if more else torch.float16}
    dense = load_file(recipe.folder / "dense" / "model.safetensors")
    assert {value.dtype for value in dense.values()} == {torch.float32}
    for place in (made.model_folder, recipe.folder / "dense"):
        assert (place / "LICENSE").read_text() == "LICENSE"
        assert (place / "README_source.md").read_text() == "README.md"
        assert (place / "lm" / "words.txt").is_file()
        assert (place / "preprocessor_config.json").is_file()
        assert not (place / "optimizer.pt").exists()


FAMILIES_WITHOUT = [("hubert", "Hubert"), ("unispeech", "UniSpeech"), ("sew", "SEW"), ("sew-d", "SEWD")]


@pytest.mark.parametrize(("family", "stem"), FAMILIES_WITHOUT)
@pytest.mark.parametrize("task", ["joint", "speaker_verification"])
def test_every_family_takes_an_x_vector_head_learns_and_loads_again(tmp_path, corpus, family, stem, task):
    folder = model_folder(tmp_path / "m", family, "Model")
    line, ready = head_line(recipe_for(corpus, task, {"name": str(folder)}))
    assert line.startswith("head: NEW")
    model = ready.model
    assert type(model).__name__ == f"{stem}ForXVector"
    model.train()
    loss = model(torch.randn(2, 8_000), labels=torch.tensor([0, 1])).loss
    loss.backward()
    assert model.projector.weight.grad.abs().sum() > 0
    model.eval()
    graph = trace(model)
    small = resize(model, graph, {"layer.0.ffn": [0, 2], "layer.1.heads": [1], "conv.2": [0, 1, 2]}).eval()
    out, audio = save_pretrained(small, tmp_path / "out"), torch.randn(1, 8_000)
    for loaded in (load_pretrained(out), AutoModelForAudioXVector.from_pretrained(out).eval()):
        with torch.no_grad():
            assert torch.equal(loaded(audio).embeddings, small(audio).embeddings)


def test_the_borrowed_head_is_that_of_wav2vec2():
    ours, stock = tiny_model("hubert", "ForXVector"), tiny_model("wav2vec2", "ForXVector")
    for name in ("projector", "tdnn", "feature_extractor", "classifier", "objective"):
        ours.get_submodule(name).load_state_dict(stock.get_submodule(name).state_dict())
    states = torch.randn(2, 40, 16)
    for model in (ours, stock):
        backbone = model.base_model
        backbone.forward = lambda *_args, **_more: type(
            "Out", (), {"last_hidden_state": states, "hidden_states": None, "attentions": None}
        )()
    mask = torch.ones(2, 16_000, dtype=torch.long)
    mask[1, 12_000:] = 0
    with torch.no_grad():
        for given in ({}, {"attention_mask": mask}, {"labels": torch.tensor([0, 2])}):
            found, wanted = (model(torch.randn(2, 16_000), **given) for model in (ours, stock))
            assert torch.equal(found.embeddings, wanted.embeddings)
            assert found.loss is wanted.loss is None or torch.equal(found.loss, wanted.loss)
