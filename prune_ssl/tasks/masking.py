"""Check a model's masking (SpecAugment) against the train clips before training starts.

transformers refuses a batch whose padded length is shorter than one mask. With small batches, or batches of
clips of similar length, the first short clips would end a run in the middle of training.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn
from transformers import PreTrainedConfig

from prune_ssl.data import SAMPLE_RATE_HZ, Clip
from prune_ssl.errors import DataError, ModelError

LISTED = 3  # a message names so many clips and counts the others


def require_masks_fit(model: nn.Module, clips: Sequence[Clip], heard: Sequence[Clip] | None = None) -> None:
    """Refuse masks that are longer than the clips or wider than the model.

    Args:
        model: The model with its config. A model that masks nothing passes.
        clips: The clips of train.
        heard: The same clips at the shortest length that training may give them (played fast and cropped).
            None: as they are.

    Raises:
        DataError: a train clip gives fewer frames than one mask hides. The message names such clips and the
            setting to change.
        ModelError: a mask over features is wider than the model.
    """
    config: PreTrainedConfig | None = getattr(model, "config", None)
    if config is None or not getattr(config, "apply_spec_augment", True):
        return
    if getattr(config, "mask_feature_prob", 0) > 0 and config.mask_feature_length > config.hidden_size:
        raise ModelError(
            f"{type(model).__name__}: a mask of {config.mask_feature_length} features (mask_feature_length) "
            f"does not fit into its {config.hidden_size} (hidden_size): set model.config.mask_feature_length="
            f"{config.hidden_size} or less, or model.config.mask_feature_prob=0."
        )
    if not getattr(config, "mask_time_prob", 0) > 0 or not hasattr(config, "conv_kernel"):
        return
    wanted = config.mask_time_length
    frames = [masked_frames(round(clip.seconds * SAMPLE_RATE_HZ), config) for clip in heard or clips]
    short = sorted(
        (count, str(clip.path), clip.seconds)
        for count, clip in zip(frames, clips, strict=True)
        if count < wanted
    )
    if short:
        named = ", ".join(f"{path} ({seconds:.3f} s, {count})" for count, path, seconds in short[:LISTED])
        more = f" and {len(short) - LISTED} more" if len(short) > LISTED else ""
        raise DataError(
            f"{len(short)} of {len(clips)} training clips give fewer frames than the {wanted} of one mask of "
            f"the model's SpecAugment (mask_time_length): {named}{more}. Set model.config.mask_time_length="
            f"{max(short[0][0], 1)}, or model.config.apply_spec_augment=false, or leave these clips out."
        )


def masked_frames(samples: int, config: PreTrainedConfig) -> int:
    """Return the number of frames among which a model masks: the output of its convolutions.

    >>> from transformers import HubertConfig
    >>> masked_frames(16_000, HubertConfig())
    49
    """
    for kernel, stride in zip(config.conv_kernel, config.conv_stride, strict=True):
        samples = (samples - kernel) // stride + 1
    return max(samples, 0)
