"""Formulas of distillation losses written out in numpy, one frame at a time, and states to try them on."""

import numpy as np
import torch

B, T, LENGTHS = 3, 7, (7, 4, 5)


TOLERANCE = 1e-9


def random(*shape, grad=False):
    return torch.randn(*shape, dtype=torch.float64).requires_grad_(grad)


def masks():
    return torch.arange(T) < torch.tensor(LENGTHS)[:, None]


def softmax(x):
    e = np.exp(x - x.max())
    return e / e.sum()


def cos(a, b):
    return float(a @ b) / (np.sqrt(a @ a) * np.sqrt(b @ b))


def kl(p, q):
    return sum(pi * (np.log(pi) - np.log(qi)) for pi, qi in zip(p, q, strict=True))


FRAME = {
    "l1": lambda s, t: np.mean([abs(a - b) for a, b in zip(s, t, strict=True)]),
    "cosine": lambda s, t: 1 - cos(s, t),
    "log_cosine": lambda s, t: -np.log(1 / (1 + np.exp(-cos(s, t)))),
    "mse": lambda s, t: np.mean([(a - b) ** 2 for a, b in zip(s, t, strict=True)]),
}


def over_utterances(one, lengths=LENGTHS):
    return float(np.mean([one(b, n) for b, n in enumerate(lengths)]))


def literal_gram(s_in, s_out, t_in, t_out, power, lengths=LENGTHS):
    def one(b, n):
        total = 0.0
        for i in range(n):
            for j in range(n):
                own = s_in[b, i] @ s_out[b, j] / s_in.shape[-1] ** power
                total += (own - t_in[b, i] @ t_out[b, j] / t_in.shape[-1] ** power) ** 2
        return total / n**2

    return over_utterances(one, lengths)


def literal_attention(qs, ks, qt, kt, lengths=LENGTHS):
    def mean_row(q, k, b, i, n):
        return np.mean(
            [softmax(np.array([q[b, h, i] @ k[b, h, j] for j in range(n)])) for h in range(q.shape[1])], 0
        )

    def one(b, n):
        return np.mean([kl(mean_row(qt, kt, b, i, n), mean_row(qs, ks, b, i, n)) for i in range(n)])

    return over_utterances(one, lengths)


def numbers(*tensors):
    return [tensor.detach().numpy() for tensor in tensors]


def assert_equals(found, wanted):
    assert found.dtype == torch.float64
    assert abs(float(found) - wanted) <= TOLERANCE * abs(wanted)
    assert wanted > 1e-3  # the comparison could fail


def split_heads(x, heads):
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)
