"""The families that are not wav2vec 2.0's: a file of each, training with a teacher, recipes to the report."""

from pathlib import Path

import pytest
import torch

import prune_ssl.families
from prune_ssl import DistillationConfig, PruningConfig, PruningTrainer, trace
from prune_ssl.data import SpeechCollator
from prune_ssl.distillation import Distiller
from prune_ssl.distillation.students import StudentConfig, make_student
from prune_ssl.errors import DistillationError
from prune_ssl.models import family_of
from prune_ssl.pipeline import run
from prune_ssl.recipes import load_recipe
from tests.support.models import a_head_of, batch, first_output, tiny_model
from tests.support.paths import ROOT
from tests.support.slow import slow_but
from tests.support.training import Tones, quiet_arguments

OTHERS = ("omniasr_audio", "whisper")


class Clips(Tones):
    """Samples as a folder gives them; without labels for a bare model."""

    def __init__(self, count, labelled):
        super().__init__(count)
        self.labelled = labelled

    def __getitem__(self, index):
        item = self.items[index]
        labels = {"labels": int(item["labels"])} if self.labelled else {}
        return {"input_values": item["input_values"].numpy(), **labels}


@pytest.mark.parametrize("name", ["omniasr", "whisper"])
def test_a_family_is_one_short_file(name):
    text = (Path(prune_ssl.families.__file__).parent / f"{name}.py").read_text()
    assert len(text.splitlines()) <= 30


@pytest.mark.parametrize("cached", slow_but([False], [False, True]))
@pytest.mark.parametrize("family", OTHERS)
def test_gates_and_a_teacher_train_it_to_a_budget(tmp_path, family, cached):
    head = a_head_of(family)
    teacher, student = tiny_model(family, head, num_labels=2), tiny_model(family, head, num_labels=2)
    losses = {"l1": 1.0, "cosine": 1.0, "layer_gram": 1.0, "attention": 1.0}
    labelled = head != "Model"
    trainer = PruningTrainer(
        model=student,
        args=quiet_arguments(tmp_path, max_steps=4, per_device_train_batch_size=4),
        pruning=PruningConfig(budget="macs=60%", seconds=1.0, round_to=1),
        distillation=DistillationConfig(
            losses=losses | ({"logits": 1.0} if labelled else {}),
            teacher_cache=str(tmp_path / "cache") if cached else None,
        ),
        teacher=teacher,
        data_collator=SpeechCollator(family_of(student).input.new_extractor(student.config), lengths=True),
        train_dataset=Clips(8, labelled),
        eval_dataset=Clips(4, labelled),
    )
    dense = trace(teacher).cost(seconds=1.0).macs
    trainer.train()
    assert set(trainer.distiller.parts) == set(trainer.distiller.config.losses)
    with pytest.warns(match="at the cut the gates expected"):
        made = trainer.finalize()
    assert trace(made).cost(seconds=1.0).macs <= 0.6 * dense
    assert torch.isfinite(first_output(made, **batch(made))).all()


@pytest.mark.parametrize("family", OTHERS)
def test_a_student_of_other_sizes_hears_what_its_teacher_hears(family):
    teacher = tiny_model(family, "Model")
    student = make_student(teacher, StudentConfig(layers=[0, 2], hidden_size=8, intermediate_size=12))
    distiller = Distiller(DistillationConfig(losses={"l1": 1.0, "cosine": 1.0}), teacher, student)
    inputs = batch(student, padded=True)
    with distiller.listening():
        outputs = student(**inputs)
    assert distiller.loss(inputs, outputs).item() > 0


def test_a_teacher_of_another_input_is_refused():
    config = DistillationConfig(losses={"l1": 1.0})
    with pytest.raises(DistillationError, match=r"the student reads input_values .*teacher input_features"):
        Distiller(config, tiny_model("whisper", "Model"), tiny_model("hubert", "Model"))
    spectra = [tiny_model("whisper", "Model") for _ in range(2)]
    with pytest.raises(DistillationError, match="enhancement: it compares samples"):
        Distiller(DistillationConfig(losses={"enhancement": 1.0}), *spectra)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("recipe", "family", "made"),
    [
        ("ks_digits_hj_mac_kd", "whisper", "PrunedWhisperForAudioClassification"),
        ("distilhubert", "omniasr_audio", "OmniASRAudioModel"),
    ],
)
def test_recipes_run_to_their_report(tmp_path, recipe, family, made):
    overrides = ["smoke=true", f"output={tmp_path / 'out'}", f"model.family={family}"]
    outcome = run(load_recipe(ROOT / "recipes" / f"{recipe}.yaml", overrides), say=lambda line: None)
    assert type(outcome.made).__name__ == made
    assert made in (tmp_path / "out" / "report.md").read_text()
