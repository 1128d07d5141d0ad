"""Owns STaR's losses on relations between frames (methods 7.1): attention maps, temporal Gram matrices.

A relation is T x T whatever the width, so student and teacher may differ in D and H without a projection.
Every loss is a mean over the valid frames (or pairs of them) of an utterance, then over the batch; the paper
writes sums, whose size would grow with the length. Memory beyond the inputs and their gradients is
B * CHUNK * T floats (times H for attention maps), where B counts the clips of all layers that are compared
together (`together.MOST_BYTES`): at 15 s (T = 749), 8 clips and H = 12, three layers, that is 9 MB a Gram
matrix and 110 MB a map, where keeping the matrices would take 18 MB a layer each.
"""

from typing import Any, Literal

import torch
from torch.autograd.function import once_differentiable
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from prune_ssl.distillation.frames import full_precision

CHUNK = 128  # rows of a T x T matrix that exist at a time
GramScale = Literal["raw", "sqrt", "mean"]
POWERS: dict[GramScale, float] = {"raw": 0.0, "sqrt": 0.5, "mean": 1.0}


@full_precision
def layer_gram(
    student: torch.Tensor,
    teacher: torch.Tensor,
    valid: torch.Tensor | None = None,
    scale: GramScale = "sqrt",
    chunk: int = CHUNK,
) -> torch.Tensor:
    """Return mean_ij (G^S_ij - G^T_ij)^2, G_ij = f_i . f_j / D^p, of one layer's output (STaR, layer-wise).

    Args:
        student: (B, T, D_S).
        teacher: (B, T, D_T).
        valid: (B, T) bool or None; an invalid frame leaves out its row and its column.
        scale: p: `raw` 0 as the paper writes it, `sqrt` 1/2, `mean` 1. Each Gram matrix is divided by a power
            of its own D, so that a narrow student need not be louder than its teacher.
        chunk: rows at a time.
    """
    return _gram_loss(student, student, teacher, teacher, valid, scale, chunk)


@full_precision
def intra_gram(
    student_in: torch.Tensor,
    student_out: torch.Tensor,
    teacher_in: torch.Tensor,
    teacher_out: torch.Tensor,
    valid: torch.Tensor | None = None,
    scale: GramScale = "sqrt",
    chunk: int = CHUNK,
) -> torch.Tensor:
    """Return mean_ij (X^S_ij - X^T_ij)^2, X_ij = in_i . out_j / D^p, of one layer (STaR, intra-layer).

    Args:
        student_in: (B, T, D_S), what the layer reads.
        student_out: (B, T, D_S), what it gives.
        teacher_in: (B, T, D_T).
        teacher_out: (B, T, D_T).
        valid: as in `layer_gram`.
        scale: as in `layer_gram`.
        chunk: rows at a time.
    """
    return _gram_loss(student_in, student_out, teacher_in, teacher_out, valid, scale, chunk)


def _gram_loss(
    first: torch.Tensor,
    second: torch.Tensor,
    first_target: torch.Tensor,
    second_target: torch.Tensor,
    valid: torch.Tensor | None,
    scale: GramScale,
    chunk: int,
) -> torch.Tensor:
    power = POWERS[scale]
    if valid is None:
        valid = torch.ones(first.shape[:2], dtype=torch.bool, device=first.device)
    # A frame of zeros gives a row and a column of zeros in every product: that is the whole mask.
    padding = ~valid.unsqueeze(-1)
    same = first is second
    rows = (first * first.shape[-1] ** -power).masked_fill(padding, 0)
    columns = second.masked_fill(padding, 0)
    row_targets = (first_target.detach() * first_target.shape[-1] ** -power).masked_fill(padding, 0)
    column_targets = second_target.detach().masked_fill(padding, 0)
    weights = 1 / (valid.sum(1).clamp_min(1).to(first).square() * len(valid))
    loss: torch.Tensor = _SquaredDifference.apply(  # type: ignore[no-untyped-call]
        rows, columns.detach() if same else columns, row_targets, column_targets, weights, chunk, same
    )
    return loss


class _SquaredDifference(torch.autograd.Function):
    """sum_b w_b ||R C^T - R' C'^T||^2 in chunks of rows, with the gradient made on the way.

    Autograd would keep every T x T matrix until the backward pass.
    """

    @staticmethod
    def forward(
        ctx: Any,
        rows: torch.Tensor,
        columns: torch.Tensor,
        row_targets: torch.Tensor,
        column_targets: torch.Tensor,
        weights: torch.Tensor,
        chunk: int,
        symmetric: bool,
    ) -> torch.Tensor:
        """Map (B, T, D), (B, T, D), (B, T, D'), (B, T, D'), (B,) to a scalar.

        With `symmetric`, R = a C: the two halves of the gradient are equal, and all of it goes to R.
        """
        of_rows = torch.zeros_like(rows) if ctx.needs_input_grad[0] else None
        of_columns = torch.zeros_like(columns) if ctx.needs_input_grad[1] else None
        loss = rows.new_zeros(())
        for start in range(0, rows.shape[1], chunk):
            part = slice(start, start + chunk)
            error = rows[:, part] @ columns.mT
            error.baddbmm_(row_targets[:, part], column_targets.mT, alpha=-1)
            loss += (error.square().sum((1, 2)) * weights).sum()
            error.mul_((2 * weights).view(-1, 1, 1))
            if of_rows is not None:
                of_rows[:, part] = error @ columns
            if of_columns is not None:
                of_columns.baddbmm_(error.mT, rows[:, part])
        if of_rows is not None and symmetric:
            of_rows *= 2
        ctx.save_for_backward(of_rows, of_columns)
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Scale the saved gradients."""
        saved = [None if each is None else each * gradient for each in ctx.saved_tensors]
        return *saved, None, None, None, None, None


@full_precision
def average_attention(
    student_queries: torch.Tensor,
    student_keys: torch.Tensor,
    teacher_queries: torch.Tensor,
    teacher_keys: torch.Tensor,
    valid: torch.Tensor | None = None,
    chunk: int = CHUNK,
) -> torch.Tensor:
    """Return the mean over frames t of KL(A^T[t] || A^S[t]), A the mean over heads of the attention maps.

    STaR's first objective (methods 7.1); head counts may differ. Maps are made anew from queries and keys, so
    that fast attention kernels, which keep none, can run in both models; dropout is left out.

    Args:
        student_queries: (B, H_S, T, d_S), times d_S^-1/2 already.
        student_keys: (B, H_S, T, d_S).
        teacher_queries: (B, H_T, T, d_T), times d_T^-1/2 already.
        teacher_keys: (B, H_T, T, d_T).
        valid: (B, T) bool or None: invalid frames are neither attended to nor compared.
        chunk: rows at a time.
    """
    batch, _, frames, _ = student_queries.shape
    counts = frames if valid is None else valid.sum(1).clamp_min(1)
    total = student_queries.new_zeros(())
    for start in range(0, frames, chunk):
        part = slice(start, start + chunk)
        with torch.no_grad():
            target = _mean_map(teacher_queries[:, :, part], teacher_keys, valid)
        # The (B, H, chunk, T) maps are made again in the backward pass rather than kept.
        divergence: torch.Tensor = checkpoint(
            _map_divergence, student_queries[:, :, part], student_keys, target, valid, use_reentrant=False
        )  # (B, chunk)
        if valid is not None:
            divergence = divergence.masked_fill(~valid[:, part], 0)
        total = total + (divergence.sum(1) / counts).sum() / batch
    return total


def _map_divergence(
    queries: torch.Tensor, keys: torch.Tensor, target: torch.Tensor, valid: torch.Tensor | None
) -> torch.Tensor:
    own = _mean_map(queries, keys, valid).clamp_min(torch.finfo(queries.dtype).tiny)
    return F.kl_div(own.log(), target, reduction="none").sum(-1)


def _mean_map(queries: torch.Tensor, keys: torch.Tensor, valid: torch.Tensor | None) -> torch.Tensor:
    """Map (B, H, t, d), (B, H, T, d) to mean_h softmax(q k^T), (B, t, T)."""
    scores = queries @ keys.mT
    if valid is not None:
        scores = scores.masked_fill(~valid[:, None, None, :], torch.finfo(scores.dtype).min)
    return scores.softmax(-1).mean(1)
