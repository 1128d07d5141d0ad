"""One file for each architecture: all that prune_ssl knows of it. Importing this registers them."""

from prune_ssl.families.bert import BERT
from prune_ssl.families.conformer import CONFORMER
from prune_ssl.families.data2vec import DATA2VEC
from prune_ssl.families.hubert import HUBERT
from prune_ssl.families.omniasr import OMNIASR
from prune_ssl.families.sew import SEW
from prune_ssl.families.sew_d import SEW_D
from prune_ssl.families.torchaudio import TORCHAUDIO, TORCHAUDIO_WAVLM
from prune_ssl.families.unispeech import UNISPEECH
from prune_ssl.families.unispeech_sat import UNISPEECH_SAT
from prune_ssl.families.wav2vec2 import WAV2VEC2
from prune_ssl.families.wavlm import WAVLM
from prune_ssl.families.whisper import WHISPER
from prune_ssl.models.registering import register_family

OURS = (
    WAV2VEC2,
    HUBERT,
    WAVLM,
    DATA2VEC,
    UNISPEECH,
    UNISPEECH_SAT,
    SEW,
    SEW_D,
    CONFORMER,
    BERT,
    OMNIASR,
    WHISPER,
    TORCHAUDIO,
    TORCHAUDIO_WAVLM,
)
for _family in OURS:
    register_family(_family)
