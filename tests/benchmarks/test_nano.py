"""nano-SUPERB: the cells and their recipes, the kept rows, the answers to claims, and cells that are run."""

import csv
import json

import numpy as np
import pytest
import soundfile
import torch
from nano.cells import (
    CLEAN,
    FROZEN,
    METHODS,
    PRUNED,
    STUDENTS,
    TASKS,
    TEACHER,
    TUNED,
    Cell,
    cells_of,
    missing,
)
from nano.claims import CLAIMS, NO, OPEN, YES, gain, overall
from nano.page import page_text
from nano.recipes import SHAPES, Setup, recipe_of
from nano.rows import Row, load_rows, save_rows
from nano_superb import main
from pretraining.model import SHAPE
from transformers import HubertConfig, HubertModel, Wav2Vec2FeatureExtractor

from prune_ssl.distillation import StudentConfig, make_student
from prune_ssl.tasks.outcomes import Outcomes

TINY = {
    "conv_dim": [8, 8, 16],
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "num_conv_pos_embeddings": 4,
    "num_conv_pos_embedding_groups": 2,
}


def row(method, seed, right, mode=TUNED, task="ks", clips=CLEAN):
    outcomes = Outcomes("accuracy", tuple(right), checksum="1")
    results = {CLEAN: {"accuracy": outcomes.value}, clips: {"accuracy": outcomes.value}}
    kept = {CLEAN: outcomes.to_data(), clips: outcomes.to_data()}
    return Row(task, method, mode, seed, "test", "accuracy", results, kept, 10**6, 10**5, 1.0, 60.0)


def by_key(*rows):
    return {each.key: each for each in rows}


def teacher_in(folder, **config):
    model = HubertModel(HubertConfig(**SHAPE | config))
    model.save_pretrained(folder)
    Wav2Vec2FeatureExtractor(return_attention_mask=True).save_pretrained(folder)
    return model


# -- cells and recipes


def test_an_empty_selection_means_all_cells_but_frozen_pruned_ones():
    cells = cells_of()
    assert len(cells) == len(set(cells)) == 2 * len(TASKS) * (2 * len(METHODS) - 1)
    assert not [each for each in cells if each.method == PRUNED and each.mode == FROZEN]


def test_models_that_are_needed_come_first_and_only_where_they_are_missing():
    cells = cells_of(["ks", "ic"], ["star", PRUNED], [TUNED], [1])
    star, pruned = Cell("star", 1), Cell(PRUNED, 1, "ks")
    found = missing(cells, lambda cell: False, lambda cell: False)
    assert found[:3] == [star, Cell("star", 1, "ks"), Cell("star", 1, "ic")]
    assert found[3:5] == [Cell(TEACHER, 1, "ks"), pruned]
    assert missing(cells, lambda cell: False, lambda cell: True) == cells
    assert missing(cells, lambda cell: True, lambda cell: False) == []


def test_every_cell_has_a_recipe_that_starts_where_it_should(tmp_path):
    teacher_in(tmp_path / "teacher", **TINY)
    setup = Setup(tmp_path / "teacher", tmp_path, tmp_path / "out", effort=0.01)
    for method in STUDENTS:
        if method != "scratch":
            made = recipe_of(Cell(method, 0), setup)
            assert made.task == "representation"
            assert made.distillation.task_weight == 0
            assert made.model.name == str(tmp_path / "teacher")
    for cell in cells_of():
        made = recipe_of(cell, setup)
        assert made.data.judged == "test"
        assert made.model.name == str(setup.start(cell))
        assert (made.pruning is None) == (cell.method != PRUNED)
        if cell.method != PRUNED:
            assert (made.dense.freeze == "backbone") == (cell.mode == FROZEN)
            assert made.dense.steps == round(0.01 * TASKS[cell.task].steps)


@pytest.mark.parametrize("method", SHAPES)
def test_students_have_about_a_quarter_of_the_parameters(method):
    with torch.device("meta"):
        teacher = HubertModel(HubertConfig(**SHAPE))
        made = make_student(teacher, StudentConfig(**SHAPES[method](teacher.config)))
    share = sum(each.numel() for each in made.parameters()) / sum(
        each.numel() for each in teacher.parameters()
    )
    assert 0.22 < share < 0.28


# -- rows, claims, page


def test_kept_rows_are_read_back_as_they_were(tmp_path):
    rows = by_key(row(TEACHER, 0, [1, 0, 1]), row(TEACHER, 1, [1, 1, 1], FROZEN, clips="0 dB"))
    save_rows(tmp_path / "rows.jsonl", rows)
    assert load_rows(tmp_path / "rows.jsonl") == rows
    assert load_rows(tmp_path / "none.jsonl") == {}


def test_a_gain_is_the_mean_difference_on_the_same_clips_and_is_turned_for_error_rates():
    good, bad = [1] * 90 + [0] * 10, [1] * 50 + [0] * 50
    ours = {seed: row("star", seed, good) for seed in (0, 1)}
    theirs = {seed: row("mask", seed, bad) for seed in (0, 1, 2)}
    found = gain(ours, theirs, error=False)
    assert found.value == pytest.approx(0.4)
    assert found.seeds == (0, 1)
    assert found.low < 0.4 < found.high
    assert found.answer() == YES
    turned = gain(ours, theirs, error=True)
    assert (turned.value, turned.low, turned.high) == pytest.approx((-0.4, -found.high, -found.low))
    assert turned.answer() == NO
    assert gain(ours, theirs, False, "0 dB") is None


def test_seeds_that_disagree_widen_the_interval():
    same, apart = [1, 0] * 50, [1] * 100
    steady = gain(
        {0: row("a", 0, same), 1: row("a", 1, same)}, {0: row("b", 0, same), 1: row("b", 1, same)}, False
    )
    mixed = gain(
        {0: row("a", 0, same), 1: row("a", 1, apart)}, {0: row("b", 0, same), 1: row("b", 1, same)}, False
    )
    assert steady.low == steady.high == 0
    assert mixed.low < -0.2  # a standard error of 0.25 over the two seeds
    assert mixed.answer() == OPEN


def test_an_answer_over_tasks_is_that_of_those_which_tell():
    assert overall([YES, OPEN, YES]) == YES
    assert overall([OPEN]) == OPEN
    assert overall([YES, NO]) == "depends on the task"


def test_the_page_answers_what_was_run_and_says_what_was_not():
    good, bad = [1] * 90 + [0] * 10, [1] * 50 + [0] * 50
    rows = by_key(row(TEACHER, 0, good), row("scratch", 0, bad), row(TEACHER, 0, bad, FROZEN))
    page = page_text("command", rows)
    assert f"**{CLAIMS[0].question}** | **yes**" in page
    assert "| yes | ks | clean | teacher, frozen | +40.0" in page
    assert f"{CLAIMS[1].question} | not run" in page
    assert "| from scratch | 50.0 | 50.0 | -40.0" in page
    assert page.count("No cell was run.") == len(TASKS) - 1
    assert "not run" in page_text("command", {})


# -- cells that are run


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Two words of two speakers, noise and rooms."""
    root, random = tmp_path_factory.mktemp("corpora"), np.random.default_rng(0)
    for corpus in ("arabic_commands", "speechocean_full"):
        for split in ("train", "validation", "test"):
            folder = root / corpus / split
            folder.mkdir(parents=True)
            with (folder / "metadata.csv").open("w", newline="") as file:
                rows = csv.writer(file)
                rows.writerow(["file_name", "label", "speaker"])
                for index in range(8):
                    samples = 0.3 * np.sin(np.arange(8_000) * (0.05 + 0.2 * (index % 2)))
                    soundfile.write(
                        folder / f"{index}.wav", samples + 0.01 * random.standard_normal(8_000), 16_000
                    )
                    rows.writerow([f"{index}.wav", f"word{index % 2}", f"{split}{index // 4}"])
    for name in ("noise", "rirs"):
        for split in ("train", "validation"):
            (root / name / split).mkdir(parents=True)
            decay = np.exp(-np.arange(4_000) / (200 if name == "rirs" else 1e9))
            soundfile.write(
                root / name / split / "0.wav", 0.3 * random.standard_normal(4_000) * decay, 16_000
            )
    return root


@pytest.mark.slow
def test_cells_are_run_once_judged_under_noise_and_put_on_the_page(data, tmp_path, monkeypatch, capsys):
    teacher_in(tmp_path / "teacher", **TINY)
    shared = ["--teacher", str(tmp_path / "teacher"), "--data", str(data), "--out", str(tmp_path / "out")]
    chosen = [
        "--tasks",
        "ks",
        "--methods",
        "distilhubert",
        "--modes",
        TUNED,
        "--seeds",
        "0",
        "--effort",
        "0.001",
    ]

    def call(*arguments):
        monkeypatch.setattr("sys.argv", ["nano_superb.py", *shared, *chosen, *arguments])
        try:
            return main()
        except SystemExit as error:
            return error.code

    # In this process, as the command does in those that it starts.
    assert not call("--one", "distilhubert", "-", TUNED, "0")
    assert not call("--one", "distilhubert", "ks", TUNED, "0")
    capsys.readouterr()
    assert call("--page", str(tmp_path / "page.md")) == 0
    assert "0 cells to run" in capsys.readouterr().out
    (found,) = load_rows(tmp_path / "out" / "rows.jsonl").values()
    assert set(found.results) == {CLEAN, "10 dB", "0 dB", "in rooms", "10 dB, in rooms"}
    assert json.loads((tmp_path / "out/ks/distilhubert-ks-tuned-s0/row.json").read_text())["effort"] == 0.001
    assert "| DistilHuBERT |" in (tmp_path / "page.md").read_text()
    listed = (tmp_path / "out/unlabelled/train/metadata.csv").read_text()
    assert "arabic_commands/train/0.wav" in listed
    assert "/test/" not in listed
