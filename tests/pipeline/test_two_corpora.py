"""Joint training on two corpora: who fills which columns, shares of batches, trials, refusals, a chain."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from prune_ssl import pipeline
from prune_ssl.data import Clip
from prune_ssl.errors import RecipeError
from prune_ssl.pipeline.corpora import read_corpus
from prune_ssl.pipeline.two_corpora import in_shares
from prune_ssl.recipes import Recipe, load_recipe
from tests.support.paths import RECIPES


def corpus(root: Path, column: str, values: tuple[str, ...], counts: dict[str, int]) -> Path:
    """Tones, one pitch for each value."""
    time = np.arange(9_600) / 16_000
    for split, count in counts.items():
        (root / split).mkdir(parents=True)
        rows = [f"file_name,{column}"]
        for index in range(count):
            value = index % len(values)
            wave = 0.1 * np.sin(2 * np.pi * 300 * (1 + value) * time + index)
            soundfile.write(root / split / f"{index}.wav", wave, 16_000)
            rows.append(f"{index}.wav,{values[value]}")
        (root / split / "metadata.csv").write_text("\n".join(rows) + "\n")
    return root


@pytest.fixture(scope="module")
def two(tmp_path_factory) -> tuple[Path, Path]:
    root = tmp_path_factory.mktemp("two")
    sizes = {"train": 6, "validation": 4}
    words = corpus(root / "words", "label", ("no", "yes"), {"train": 12, "validation": 4})
    people = corpus(root / "people", "speaker", ("ann", "bob"), sizes)
    (people / "sv_trials.csv").write_text(
        "file_1,file_2,same_speaker\nvalidation/0.wav,validation/2.wav,1\nvalidation/0.wav,validation/1.wav,0\n"
    )
    return words, people


TINY = (
    "model.config={conv_dim: [8, 8, 8], conv_kernel: [240, 8, 3], conv_stride: [80, 4, 2], hidden_size: 16, "
    "num_feat_extract_layers: 3, num_hidden_layers: 2, num_attention_heads: 2, intermediate_size: 32, "
    "num_conv_pos_embeddings: 8, num_conv_pos_embedding_groups: 2, tdnn_dim: [8, 8], tdnn_kernel: [3, 1], "
    "tdnn_dilation: [1, 1], xvector_output_dim: 8, layerdrop: 0.0, apply_spec_augment: false}"
)


def joint(two: tuple[Path, Path], name: str, *overrides: str) -> Recipe:
    paths = [f"data.path={two[0]}", f"data.also.path={two[1]}"]
    return load_recipe(RECIPES / f"{name}.yaml", [*paths, *overrides])


def test_each_corpus_fills_its_columns_and_comes_in_its_share(two) -> None:
    lines = []
    found = read_corpus(joint(two, "joint_small_dense"), lines.append).clips
    train = [clip.target for clip in found.splits["train"]]
    assert sorted(set(train)) == ["no|", "yes|", "|ann", "|bob"]
    assert train.count("|ann") + train.count("|bob") == 12 == len(train) / 2, "six clips of people, twice"
    assert [clip.target for clip in found.splits["validation"]][::4] == ["no|", "|ann"]
    assert found.path == two[1], "where the trial list is"
    assert any("18" not in line and "24 with repeats" in line for line in lines)
    plain = read_corpus(joint(two, "joint_small_dense", "data.also.share=null"), lambda line: None).clips
    assert len(plain.splits["train"]) == 18


@pytest.mark.parametrize("share", [0.1, 0.5, 0.8])
def test_a_share_is_met_by_repeats_and_no_clip_is_lost(share: float) -> None:
    first, second = (
        [Clip(Path(f"{name}{index}"), "", 1.0) for index in range(count)]
        for name, count in (("a", 40), ("b", 20))
    )
    found = in_shares(first, second, share)
    assert set(found) == {*first, *second}
    of_second = sum(clip in second for clip in found) / len(found)
    assert of_second == pytest.approx(share, abs=0.01)
    counts = [found.count(clip) for clip in second]
    assert max(counts) - min(counts) <= 1


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["data.also.fills=name"], r"data\.also\.fills: found 'name', wanted columns of data\.target"),
        (["data.also.fills=label"], r"neither data\.fills nor data\.also\.fills has 'speaker'"),
    ],
)
def test_columns_that_do_not_fit_are_refused(two, overrides, message) -> None:
    with pytest.raises(RecipeError, match=message):
        read_corpus(joint(two, "joint_small_dense", *overrides), lambda line: None)
    with pytest.raises(RecipeError, match=r"`data\.also` is for task joint, found task classification"):
        joint(two, "joint_small_dense", "task=classification", "data.margin=null")


@pytest.mark.slow
def test_the_chain_distils_fine_tunes_and_prunes(two, tmp_path) -> None:
    """A joint model, a student of it, the student fine-tuned (whole and frozen), and that one pruned."""
    quick = ["report={seconds: [1.0], iterations: 3, min_seconds: 0.0}", "batch_size=4"]
    steps = "dense={steps: 3, learning_rate: 1.0e-3}"

    def run(recipe: Recipe) -> pipeline.Outcome:
        return pipeline.run(recipe, say=lambda line: None)

    out = f"output={tmp_path}/{{name}}"
    dense = run(joint(two, "joint_small_dense", TINY, steps, *quick, out))
    named = f"model.name={dense.model_folder}"
    student = ["student={layers: 1, steps: 3, learning_rate: 1.0e-3}", "distillation.layers=[1, 2]"]
    kd = load_recipe(RECIPES / "kd_small.yaml", [named, f"data.path={two[0]}", *student, *quick, out])
    small = run(kd)
    assert small.model.config.num_hidden_layers == 1
    named = f"model.name={small.model_folder}"
    tuned = run(joint(two, "joint_small_finetuned", named, steps, *quick, out))
    frozen = [f"output={tmp_path}/frozen", "dense.freeze=backbone"]
    still = run(joint(two, "joint_small_finetuned", named, steps, *quick, *frozen))
    for outcome, same in ((tuned, False), (still, True)):
        assert {"accuracy", "eer"} <= set(outcome.report.data.results["fine_tuned"])
        weights = outcome.model.base_model.state_dict()
        before = small.model.base_model.state_dict()
        equal = all((weights[name] == before[name]).all() for name in before)
        assert equal == same
    pruning = "pruning={budget: macs=70%, steps: 3, learning_rate: 1.0e-3, round_to: 1, seconds: 1.0}"
    named = f"model.name={tuned.model_folder}"
    pruned = run(joint(two, "joint_small_pruned", named, pruning, *quick, out))
    assert {"accuracy", "eer"} <= set(pruned.report.data.results["recovered"])
    assert (
        pruned.report.data.model.measurement.macs[1.0] <= 0.7 * tuned.report.data.model.measurement.macs[1.0]
    )
