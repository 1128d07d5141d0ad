"""SpeechTrainer: batches by length and by seconds, judged order, and x-vectors one clip at a time."""

import pytest
import torch
from torch.utils.data import Dataset, SequentialSampler

from prune_ssl.errors import PruneError
from prune_ssl.pipeline.arguments import SpeechArguments
from prune_ssl.training import SpeechTrainer
from prune_ssl.training.speech_trainer import SeededByLength
from tests.support.models import tiny_model
from tests.support.training import Tones


class Known(Tones):
    """Clips that know their lengths without being decoded."""

    @property
    def lengths(self) -> list[int]:
        return [1_000 * (index + 1) for index in range(len(self))]


def speech_trainer(folder, dataset: Dataset, model=None, **more) -> SpeechTrainer:
    args = SpeechArguments(
        output_dir=str(folder), report_to=[], use_cpu=True, disable_tqdm=True, max_steps=2, **more
    )
    model = model or tiny_model(num_labels=2)
    return SpeechTrainer(model=model, args=args, train_dataset=dataset, eval_dataset=dataset)


def order(sampler: SeededByLength, epoch: int) -> list[int]:
    sampler.set_epoch(epoch)
    return list(sampler)


def test_the_order_by_length_is_that_of_seed_and_epoch_alone() -> None:
    lengths = torch.randint(1, 100, (64,)).tolist()
    first = order(SeededByLength(4, lengths, 3), 0)
    assert sorted(first) == list(range(64))
    torch.rand(5)
    assert order(SeededByLength(4, lengths, 3), 0) == first
    assert order(SeededByLength(4, lengths, 3), 1) != first
    assert order(SeededByLength(4, lengths, 4), 0) != first
    batches = [first[at : at + 4] for at in range(0, 64, 4)]
    spread = [max(lengths[i] for i in batch) - min(lengths[i] for i in batch) for batch in batches]
    assert sum(spread) / len(spread) < 20  # of 99 that random batches may have


def test_known_lengths_are_taken_and_what_is_judged_keeps_its_order(tmp_path) -> None:
    trainer = speech_trainer(tmp_path, Known(8), train_sampling_strategy="group_by_length", seed=5)
    sampler = trainer._get_train_sampler()
    assert isinstance(sampler, SeededByLength)
    assert sampler.seed == 5
    assert isinstance(trainer._get_eval_sampler(trainer.eval_dataset), SequentialSampler)


def test_without_that_wish_trainers_own_sampler_comes(tmp_path) -> None:
    assert not isinstance(speech_trainer(tmp_path, Known(8))._get_train_sampler(), SeededByLength)


def test_batches_by_seconds_hold_no_more(tmp_path) -> None:
    trainer = speech_trainer(tmp_path, Known(12), batch_seconds=1.0)
    batches = list(trainer.get_train_dataloader().batch_sampler)
    lengths = Known(12).lengths
    assert sorted(index for batch in batches for index in batch) == list(range(12))
    assert all(len(batch) * max(lengths[i] for i in batch) <= 16_000 for batch in batches)
    assert len({len(batch) for batch in batches}) > 1


def test_batches_by_seconds_need_lengths(tmp_path) -> None:
    with pytest.raises(PruneError, match="batch_seconds"):
        speech_trainer(tmp_path, Tones(4), batch_seconds=1.0).get_train_dataloader()


@pytest.mark.parametrize(("head", "size"), [("ForXVector", 1), ("ForSequenceClassification", 8)])
def test_embeddings_that_depend_on_their_batch_are_judged_alone(tmp_path, head: str, size: int) -> None:
    model = tiny_model("wav2vec2", head, num_labels=2)
    assert speech_trainer(tmp_path, Known(2), model).args.per_device_eval_batch_size == size


def test_the_loss_of_accumulated_steps_is_divided(tmp_path) -> None:
    trainer = speech_trainer(tmp_path, Known(2))
    assert trainer.model_accepts_loss_kwargs is False
    assert SpeechTrainer.loss_is_scaled_for_ga is False
