"""Audio reading and checks, datasets, collation, augmentation."""

from typing import TYPE_CHECKING

from prune_ssl.lazy_names import lazily

if TYPE_CHECKING:
    from prune_ssl.data.audio import (
        MIN_SAMPLES,
        SAMPLE_RATE_HZ,
        AudioHeader,
        Waveform,
        read_header,
        read_waveform,
        waveform_problem,
    )
    from prune_ssl.data.augmentation import Augmentation, AugmentConfig
    from prune_ssl.data.clips import Clip, ClipDataset
    from prune_ssl.data.collate import IGNORED, SpeechCollator
    from prune_ssl.data.corruption import CorruptedDataset, Corruption, CorruptionConfig
    from prune_ssl.data.folders import FolderConfig, SpeechFolder, check_folder
    from prune_ssl.data.layouts import SPLITS, Layout, Listing, register_layout
    from prune_ssl.data.lexicon import Lexicon
    from prune_ssl.data.metadata import SLOT_MARK
    from prune_ssl.data.recordings import Recordings, Rooms
    from prune_ssl.data.streaming import (
        StreamConfig,
        StreamedClips,
        StreamSource,
        read_stream,
        require_sampled_labels,
    )
    from prune_ssl.data.surveys import Finding, Survey, SurveyConfig, survey
    from prune_ssl.data.trials import Trial, all_pairs, find_trials, read_trials

__getattr__, __dir__ = lazily(
    __name__,
    {
        "prune_ssl.data.audio": (
            "MIN_SAMPLES SAMPLE_RATE_HZ AudioHeader Waveform read_header read_waveform waveform_problem"
        ),
        "prune_ssl.data.augmentation": "Augmentation AugmentConfig",
        "prune_ssl.data.clips": "Clip ClipDataset",
        "prune_ssl.data.collate": "IGNORED SpeechCollator",
        "prune_ssl.data.corruption": "CorruptedDataset Corruption CorruptionConfig",
        "prune_ssl.data.folders": "FolderConfig SpeechFolder check_folder",
        "prune_ssl.data.layouts": "SPLITS Layout Listing register_layout",
        "prune_ssl.data.lexicon": "Lexicon",
        "prune_ssl.data.metadata": "SLOT_MARK",
        "prune_ssl.data.recordings": "Recordings Rooms",
        "prune_ssl.data.streaming": (
            "StreamConfig StreamedClips StreamSource read_stream require_sampled_labels"
        ),
        "prune_ssl.data.surveys": "Finding Survey SurveyConfig survey",
        "prune_ssl.data.trials": "Trial all_pairs find_trials read_trials",
    },
)

__all__ = [
    "IGNORED",
    "MIN_SAMPLES",
    "SAMPLE_RATE_HZ",
    "SLOT_MARK",
    "SPLITS",
    "AudioHeader",
    "AugmentConfig",
    "Augmentation",
    "Clip",
    "ClipDataset",
    "CorruptedDataset",
    "Corruption",
    "CorruptionConfig",
    "Finding",
    "FolderConfig",
    "Layout",
    "Lexicon",
    "Listing",
    "Recordings",
    "Rooms",
    "SpeechCollator",
    "SpeechFolder",
    "StreamConfig",
    "StreamSource",
    "StreamedClips",
    "Survey",
    "SurveyConfig",
    "Trial",
    "Waveform",
    "all_pairs",
    "check_folder",
    "find_trials",
    "read_header",
    "read_stream",
    "read_trials",
    "read_waveform",
    "register_layout",
    "require_sampled_labels",
    "survey",
    "waveform_problem",
]
