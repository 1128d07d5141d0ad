"""Audio reading and checks, datasets, collation, augmentation."""

from prune_ssl.data.audio import (
    MIN_SAMPLES,
    SAMPLE_RATE_HZ,
    AudioHeader,
    Waveform,
    read_header,
    read_waveform,
    waveform_problem,
)
from prune_ssl.data.augmentation import Augmentation
from prune_ssl.data.clips import Clip, ClipDataset
from prune_ssl.data.collate import SpeechCollator
from prune_ssl.data.corruption import CorruptedDataset, Corruption
from prune_ssl.data.folders import SPLITS, FolderConfig, SpeechFolder, check_folder

__all__ = [
    "MIN_SAMPLES",
    "SAMPLE_RATE_HZ",
    "SPLITS",
    "AudioHeader",
    "Augmentation",
    "Clip",
    "ClipDataset",
    "CorruptedDataset",
    "Corruption",
    "FolderConfig",
    "SpeechCollator",
    "SpeechFolder",
    "Waveform",
    "check_folder",
    "read_header",
    "read_waveform",
    "waveform_problem",
]
