"""SpeechTrainer: what every training of a speech model needs beyond transformers.Trainer."""

from typing import Any

from torch.utils.data import Dataset, Sampler, SequentialSampler
from transformers import Trainer
from transformers.trainer_pt_utils import LengthGroupedSampler


class SpeechTrainer(Trainer):
    """A `transformers.Trainer` for models that take waveforms.

    The loss is averaged over gradient accumulation steps; `train_sampling_strategy="group_by_length"` takes
    the lengths that the dataset knows (`ClipDataset.lengths`), where Trainer would decode every clip.
    """

    # Also with a compute_loss_func, of which Trainer supposes that it divides by all items of the step.
    loss_is_scaled_for_ga = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # These models take **kwargs in forward but do not use num_items_in_batch: without this the loss would
        # not be divided over gradient accumulation steps.
        self.model_accepts_loss_kwargs = False

    def _get_train_sampler(self, train_dataset: Dataset[Any] | None = None) -> Sampler[Any] | None:
        dataset = self.train_dataset if train_dataset is None else train_dataset
        lengths = getattr(dataset, "lengths", None)
        if lengths is None or self.args.train_sampling_strategy != "group_by_length":
            return super()._get_train_sampler(train_dataset)
        batch = self.args.train_batch_size * self.args.gradient_accumulation_steps
        return LengthGroupedSampler(batch, lengths=lengths)

    def _get_eval_sampler(self, eval_dataset: Dataset[Any]) -> Sampler[Any] | None:
        # Trainer would reorder what is judged as well; `Task.judge` relies on the order of the dataset.
        if self.args.train_sampling_strategy == "group_by_length":
            return SequentialSampler(eval_dataset)  # type: ignore[arg-type]
        return super()._get_eval_sampler(eval_dataset)
