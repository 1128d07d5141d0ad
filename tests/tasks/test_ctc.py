"""CTC tasks: tokenizers, decoding, error rates on padded batches, heads, transformers.pipeline."""

from itertools import groupby
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import (
    EvalPrediction,
    HubertConfig,
    HubertModel,
    Wav2Vec2FeatureExtractor,
    pipeline,
)

import prune_ssl
from prune_ssl.data import IGNORED, Clip, ClipDataset, SpeechCollator, SpeechFolder
from prune_ssl.errors import DataError, ModelError
from prune_ssl.tasks import Phonemes, Recognition, TaskSettings
from prune_ssl.tasks.ctc import frames_needed
from prune_ssl.tasks.frames import frame_counts
from prune_ssl.training import SpeechTrainer
from tests.support.models import tiny_model
from tests.support.texts import clips_of, folder_of
from tests.support.training import quiet_arguments

SHORT = HubertConfig(
    hidden_size=16,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=32,
    conv_dim=(8, 8, 8),
    conv_kernel=(10, 3, 3),
    conv_stride=(5, 4, 4),
    num_conv_pos_embeddings=8,
    num_conv_pos_embedding_groups=2,
    apply_spec_augment=False,
    layerdrop=0.0,
    hidden_dropout=0.0,
    activation_dropout=0.0,
    attention_dropout=0.0,
    feat_proj_dropout=0.0,
    final_dropout=0.0,
)
TEXTS = ("ONE TWO", "SEVEN", "X Y")


def emission(task: Recognition, text: str) -> list[int]:
    """A frame sequence that CTC reads as this text: every token twice, a blank after it."""
    blank = task.tokenizer.pad_token_id
    return [index for token in task.encode(text) for index in (token, token, blank)]


def test_the_vocabulary_is_that_of_train() -> None:
    task = Recognition.from_folder(folder_of(*TEXTS))
    letters = sorted(set("ONETWOSEVENXY"))
    tokens = ["<pad>", "<unk>", "|", *letters]
    assert task.tokenizer.get_vocab() == {token: index for index, token in enumerate(tokens)}
    assert task.head.config["vocab_size"] == 3 + len(letters)
    assert task.head.config["pad_token_id"] == 0
    assert task.encode("ONE  XY") == [3 + letters.index(c) if c != " " else 2 for c in "ONE XY"]
    assert task.encode("OLE")[1] == 1  # unknown


@given(st.lists(st.text("ABC'É", min_size=1, max_size=4), min_size=1, max_size=4).map(" ".join))
def test_decoding_undoes_any_emission(text: str) -> None:
    task = Recognition.from_folder(folder_of("ABC'É"))
    assert task.decode(np.asarray(emission(task, text))) == text


@given(st.lists(st.integers(0, 6), min_size=1, max_size=20))
def test_decoding_merges_repeats_and_drops_blanks(frames: list[int]) -> None:
    task = Recognition.from_folder(folder_of("ABCD"))  # 0 blank, 1 unknown, 2 space, 3.. letters
    names = {0: "", 1: "<unk>", 2: " ", 3: "A", 4: "B", 5: "C", 6: "D"}
    slow = "".join(names[index] for index, _ in groupby(frames))
    assert task.decode(np.asarray(frames)) == " ".join(slow.split())


def test_phonemes_may_have_several_letters() -> None:
    task = Phonemes.from_folder(folder_of("AH A B", "HH AH"))
    assert task.encode("AH A") != task.encode("A AH")
    assert len(task.encode("AH A B HH")) == 4
    for text in ("AH A B", "HH HH AH", "A A"):
        assert task.decode(np.asarray(emission(task, text))) == text


def test_a_text_with_the_space_token_is_refused() -> None:
    with pytest.raises(DataError, match=r"holds '\|'"):
        Recognition.from_folder(folder_of("A|B"))


def test_a_given_tokenizer_sets_the_case(tmp_path: Path) -> None:
    Recognition.from_folder(folder_of("ABCDE")).tokenizer.save_pretrained(tmp_path / "tokenizer")
    settings = TaskSettings(tokenizer=str(tmp_path / "tokenizer"))
    folder = folder_of("bad", "cab")
    task = Recognition.from_folder(folder, settings=settings)
    assert task.case == "upper"
    assert task.encode("bad") == Recognition.from_folder(folder_of("ABCDE")).encode("BAD")
    assert list(task.check(folder, tiny_model(head="ForCTC"))) == [
        "texts are converted to upper case to fit the tokenizer"
    ]
    with pytest.raises(ModelError, match="no tokenizer can be loaded"):
        Recognition.from_folder(folder, settings=TaskSettings(tokenizer=str(tmp_path / "nowhere")))


def test_labels_are_padded_with_what_the_loss_ignores() -> None:
    items = [
        {"input_values": np.ones(500, np.float32), "labels": [3, 4, 5]},
        {"input_values": np.ones(700, np.float32), "labels": [6]},
    ]
    batch = SpeechCollator()(items)
    assert batch["labels"].tolist() == [[3, 4, 5], [6, IGNORED, IGNORED]]


@pytest.mark.parametrize("head", ["Model", "ForCTC", "ForSequenceClassification"])
def test_any_model_gets_the_head_and_keeps_its_backbone(head: str) -> None:
    task = Recognition.from_folder(folder_of(*TEXTS))
    model = tiny_model(head=head)
    backbone = {name: tensor.clone() for name, tensor in model.base_model.state_dict().items()}
    made = task.head.put_on(model)
    assert type(made).__name__ == "HubertForCTC"
    assert made.lm_head.out_features == made.config.vocab_size == len(task.tokenizer)
    assert all(torch.equal(t, backbone[n]) for n, t in made.base_model.state_dict().items())
    labels = torch.tensor([[3, 4, 5], [6, IGNORED, IGNORED]])
    made(torch.randn(2, 8_000), labels=labels).loss.backward()
    assert made.lm_head.weight.grad.abs().sum() > 0


def logits_of(task: Recognition, rows: list[list[int]], frames: int, junk: int) -> np.ndarray:
    """One-hot logits (B, T, V); frames beyond a row hold `junk`, as padding of a batch does."""
    indices = np.full((len(rows), frames), junk)
    for row, values in zip(indices, rows, strict=True):
        row[: len(values)] = values
    return np.eye(len(task.tokenizer), dtype=np.float32)[indices]


def test_padding_does_not_count() -> None:
    clips = clips_of("ABBA", "BA B")
    task, model = Recognition.from_folder(folder_of("ABBA", "BA B")), tiny_model(head="ForCTC")
    frames = frame_counts(clips, model)
    rows = [emission(task, clip.target) for clip in clips]
    rows = [row + [0] * (count - len(row)) for row, count in zip(rows, frames, strict=True)]
    logits = logits_of(task, rows, max(frames) + 7, junk=4)  # the padding says "B"
    judged = task.judge(clips, model)(EvalPrediction((logits, "hidden"), None))
    assert (judged["wer"], judged["cer"], judged["clips"]) == (0.0, 0.0, 2.0)
    # The same where the Trainer kept the likeliest tokens only.
    slimmed = task.slim((torch.from_numpy(logits), None), None).numpy()
    assert task.judge(clips, model)(EvalPrediction(slimmed, None)) == judged
    # One word of three wrong.
    rows[1][:1] = [3]
    wrong = logits_of(task, rows, max(frames), junk=0)
    judged = task.judge(clips, model)(EvalPrediction(wrong, None))
    assert judged["wer"] == 1 / 3
    assert judged["wer_low"] == 0
    assert judged["wer_high"] == 1 / 2


def test_unknown_characters_stay_in_the_reference() -> None:
    clips, task = clips_of("AÉ"), Recognition.from_folder(folder_of("AB"))
    model = tiny_model(head="ForCTC")
    (frames,) = frame_counts(clips, model)
    row = emission(task, "A")
    logits = logits_of(task, [row + [0] * (frames - len(row))], frames, junk=0)
    assert task.judge(clips, model)(EvalPrediction(logits, None))["cer"] == 0.5


def test_frame_counts_are_those_of_the_model() -> None:
    model, clips = tiny_model(head="ForCTC"), clips_of("A", "B", "C")
    for clip, count in zip(clips, frame_counts(clips, model), strict=True):
        assert model(torch.from_numpy(clip.waveform())[None]).logits.shape[1] == count


def test_clips_too_short_for_their_text_are_counted_or_refused() -> None:
    assert frames_needed([3, 3, 4, 4, 4]) == 8
    folder, model = folder_of("AB" * 40, "A"), tiny_model(head="ForCTC")
    task = Recognition.from_folder(folder)
    assert list(task.check(folder, model)) == [
        "1 of 2 train clips have too few frames for their text: no loss there"
    ]
    hopeless = folder_of("AB" * 40)
    with pytest.raises(DataError, match="no clip of train has as many frames"):
        list(task.check(hopeless, model))


@pytest.mark.slow
def test_a_trainer_learns_to_spell_two_tones(tmp_path: Path) -> None:
    time = np.arange(1_600) / 16_000
    clips = tuple(
        Clip(Path(f"{i}.wav"), text, 0.1, samples=np.sin(2 * np.pi * hz * time + i).astype(np.float32))
        for i in range(4)
        for text, hz in (("LO", 200), ("HI", 2_000))
    )
    task = Recognition.from_folder(SpeechFolder(Path("tones"), {"train": clips}, ()))
    model = task.head.put_on(HubertModel(SHORT))
    dataset = ClipDataset(clips, task.encode)
    trainer = SpeechTrainer(
        model=model,
        args=quiet_arguments(
            tmp_path, max_steps=200, per_device_train_batch_size=8, learning_rate=3e-3, warmup_steps=20
        ),
        train_dataset=dataset,
        eval_dataset=dataset,
        data_collator=task.collator(),
        compute_metrics=task.judge(clips, model),
        preprocess_logits_for_metrics=task.slim,
    )
    assert trainer.evaluate()["eval_wer"] > 0.9
    trainer.train()
    result = trainer.evaluate()
    assert (result["eval_wer"], result["eval_cer"]) == (0.0, 0.0)


def test_grouping_by_length_leaves_the_judged_order_alone(tmp_path: Path) -> None:
    clips = clips_of(*("ABC" * 11), seconds=0.1)
    task, model = Recognition.from_folder(folder_of(*"ABC")), tiny_model(head="ForCTC")
    trainer = SpeechTrainer(
        model=task.head.put_on(model),
        args=quiet_arguments(
            tmp_path,
            max_steps=1,
            per_device_train_batch_size=2,
            train_sampling_strategy="group_by_length",
        ),
        train_dataset=ClipDataset(clips, task.encode),
        data_collator=task.collator(),
    )
    batches = [batch["input_values"].shape[1] for batch in trainer.get_train_dataloader()]
    lengths = [len(clip.waveform()) for clip in clips]
    # Two clips at random would be padded to two thirds of the way from the shortest to the longest.
    assert len(batches) == 17
    assert np.mean(batches) < min(lengths) + 0.6 * (max(lengths) - min(lengths))
    judged = trainer.get_eval_dataloader(ClipDataset(clips, task.encode))
    order = [row for batch in judged for row in batch["labels"][:, 0].tolist()]
    assert order == [task.encode(clip.target)[0] for clip in clips]


@pytest.mark.parametrize("kind", [Recognition, Phonemes])
@pytest.mark.parametrize("family", ["hubert", "wav2vec2"])
def test_a_pruned_model_works_in_transformers_pipeline(
    tmp_path: Path, kind: type[Recognition], family: str
) -> None:
    texts = ("ONE TWO", "TWO ONE") if kind is Recognition else ("AH B AH", "B HH")
    task = kind.from_folder(folder_of(*texts))
    model = task.head.put_on(tiny_model(family, "ForCTC"))
    graph = prune_ssl.trace(model)
    small = prune_ssl.resize(model, graph, prune_ssl.select(model, graph, "macs=50%", round_to=1))
    processor = task.processor(Wav2Vec2FeatureExtractor())
    prune_ssl.save_pretrained(small, tmp_path / "model", processor=processor)
    wave = np.random.default_rng(3).standard_normal(24_000).astype(np.float32)
    recognise = pipeline("automatic-speech-recognition", model=str(tmp_path / "model"))
    found = recognise(wave)["text"]
    batch = task.collator(processor)([{"input_values": wave}])
    with torch.no_grad():
        indices = small.eval()(**batch).logits.argmax(-1)[0]
    assert found == task.decode(indices.numpy())
    assert found  # an untrained model babbles; silence would prove nothing
    again = kind.from_folder(folder_of("OTHER TEXT"), prune_ssl.load_pretrained(tmp_path / "model"))
    assert again.of_model
    assert again.tokenizer.get_vocab() == task.tokenizer.get_vocab()
    assert again.head.fits(small)
