"""Distillation: what a student learns from its teacher, as taps, small pure losses and their sum."""

from prune_ssl.distillation.config import LOSSES, DistillationConfig
from prune_ssl.distillation.distiller import LENGTHS, TEACHER_AUDIO, TEACHER_NORMALIZED, Distiller
from prune_ssl.distillation.enhancement import (
    ENHANCEMENT_LOSSES,
    EnhancementHead,
    magnitude_l1,
    multi_resolution,
    negative_si_sdr,
)
from prune_ssl.distillation.hidden import HIDDEN_LOSSES, cosine, l1, log_cosine, masking_mse, mse
from prune_ssl.distillation.loss import STUDENT, TEACHER, Batch, Loss, Models
from prune_ssl.distillation.losses import hidden_pairs, on_hidden_states, register_loss, relation_pairs
from prune_ssl.distillation.predictions import embedding_cosine, frame_logits_kl, logits_kl
from prune_ssl.distillation.projections import Projections, load_projections, save_projections
from prune_ssl.distillation.relations import average_attention, intra_gram, layer_gram
from prune_ssl.distillation.spans import draw_spans
from prune_ssl.distillation.students import STUDENTS, StudentConfig, make_student, reuse_attention
from prune_ssl.distillation.taps import Tapped, Taps, depth_of

__all__ = [
    "ENHANCEMENT_LOSSES",
    "HIDDEN_LOSSES",
    "LENGTHS",
    "LOSSES",
    "STUDENT",
    "STUDENTS",
    "TEACHER",
    "TEACHER_AUDIO",
    "TEACHER_NORMALIZED",
    "Batch",
    "DistillationConfig",
    "Distiller",
    "EnhancementHead",
    "Loss",
    "Models",
    "Projections",
    "StudentConfig",
    "Tapped",
    "Taps",
    "average_attention",
    "cosine",
    "depth_of",
    "draw_spans",
    "embedding_cosine",
    "frame_logits_kl",
    "hidden_pairs",
    "intra_gram",
    "l1",
    "layer_gram",
    "load_projections",
    "log_cosine",
    "logits_kl",
    "magnitude_l1",
    "make_student",
    "masking_mse",
    "mse",
    "multi_resolution",
    "negative_si_sdr",
    "on_hidden_states",
    "register_loss",
    "relation_pairs",
    "reuse_attention",
    "save_projections",
]
