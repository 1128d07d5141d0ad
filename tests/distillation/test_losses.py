"""Every loss against its formula written out in numpy, its gradient, and the law of padding."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch.utils._python_dispatch import TorchDispatchMode

from prune_ssl import distillation as D

B, T, LENGTHS = 3, 7, (7, 4, 5)
TOLERANCE = 1e-9


def random(*shape, grad=False):
    return torch.randn(*shape, dtype=torch.float64).requires_grad_(grad)


def masks():
    return torch.arange(T) < torch.tensor(LENGTHS)[:, None]


# -- the formulas, one frame at a time


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


@pytest.mark.parametrize("name", FRAME)
def test_a_hidden_state_loss_is_its_formula(name):
    s, t = random(B, T, 5), random(B, T, 5)
    a, b = numbers(s, t)
    for valid, lengths in ((masks(), LENGTHS), (None, (T,) * B)):
        wanted = over_utterances(
            lambda i, n: np.mean([FRAME[name](a[i, j], b[i, j]) for j in range(n)]), lengths
        )
        assert_equals(D.HIDDEN_LOSSES[name](s, t, valid), wanted)


def test_masking_distillation_is_its_formula():
    s, clean, masked = (random(B, T, 5) for _ in range(3))
    gone = torch.rand(B, T) < 0.5
    a, c, m = numbers(s, clean, masked)

    def one(b, n):
        return np.mean([np.mean((a[b, i] - (c if gone[b, i] else m)[b, i]) ** 2) for i in range(n)])

    assert_equals(D.masking_mse(s, clean, masked, gone, masks()), over_utterances(one))


@pytest.mark.parametrize(("scale", "power"), [("raw", 0), ("sqrt", 0.5), ("mean", 1)])
@pytest.mark.parametrize("chunk", [3, 128])
def test_the_layer_wise_gram_loss_is_its_formula(scale, power, chunk):
    s, t = random(B, T, 4), random(B, T, 6)
    a, b = numbers(s, t)
    assert_equals(D.layer_gram(s, t, masks(), scale, chunk), literal_gram(a, a, b, b, power))
    assert_equals(D.layer_gram(s, t, None, scale, chunk), literal_gram(a, a, b, b, power, (T,) * B))


@pytest.mark.parametrize(("scale", "power"), [("raw", 0), ("sqrt", 0.5), ("mean", 1)])
@pytest.mark.parametrize("chunk", [3, 128])
def test_the_intra_layer_gram_loss_is_its_formula(scale, power, chunk):
    states = [random(B, T, 4), random(B, T, 4), random(B, T, 6), random(B, T, 6)]
    assert_equals(D.intra_gram(*states, masks(), scale, chunk), literal_gram(*numbers(*states), power))


@pytest.mark.parametrize("chunk", [3, 128])
def test_the_average_attention_loss_is_its_formula(chunk):
    maps = [random(B, 2, T, 4), random(B, 2, T, 4), random(B, 3, T, 5), random(B, 3, T, 5)]
    assert_equals(D.average_attention(*maps, masks(), chunk), literal_attention(*numbers(*maps)))
    assert_equals(D.average_attention(*maps, None, chunk), literal_attention(*numbers(*maps), (T,) * B))


@pytest.mark.parametrize("tau", [1.0, 2.5])
def test_losses_on_predictions_are_their_formulas(tau):
    s, t = random(B, T, 6), random(B, T, 6)
    a, b = numbers(s, t)

    def one(i, j):
        return tau**2 * kl(softmax(b[i, j] / tau), softmax(a[i, j] / tau))

    assert_equals(D.logits_kl(s[:, 0], t[:, 0], tau), np.mean([one(i, 0) for i in range(B)]))
    assert_equals(D.logits_kl(s[:, 0], t[:, 0], tau, [6]), np.mean([one(i, 0) for i in range(B)]))

    def grouped(i):
        parts = [(a[i, 0, part], b[i, 0, part]) for part in (slice(0, 2), slice(2, 5))]
        return tau**2 * sum(kl(softmax(y / tau), softmax(x / tau)) for x, y in parts)

    assert_equals(D.logits_kl(s[:, 0], t[:, 0], tau, [2, 3]), np.mean([grouped(i) for i in range(B)]))
    frames = over_utterances(lambda i, n: np.mean([one(i, j) for j in range(n)]))
    assert_equals(D.frame_logits_kl(s, t, masks(), tau), frames)
    assert_equals(
        D.embedding_cosine(s[:, 0], t[:, 0]), np.mean([1 - cos(a[i, 0], b[i, 0]) for i in range(B)])
    )


# -- laws, for all of them: (loss of student and teacher (B, T, D) and a mask)


def split_heads(x, heads):
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def attention_of(s, t, valid):
    own = [split_heads(half, 2) for half in s.chunk(2, -1)]
    target = [split_heads(half, 1) for half in t.chunk(2, -1)]
    return D.average_attention(*own, *target, valid, 3)


def masking_of(s, t, valid):
    gone = (torch.arange(s.shape[1]) % 2 == 0).expand(s.shape[:2])
    return D.masking_mse(s, t, t + 1, gone, valid)


ALL = {
    **D.HIDDEN_LOSSES,
    "masking": masking_of,
    "layer_gram": lambda s, t, v: D.layer_gram(s, t, v, "sqrt", 3),
    "intra_gram": lambda s, t, v: D.intra_gram(s, s.sin() + s, t, t.sin() + t, v, "sqrt", 3),
    "attention": attention_of,
    "frame_logits": lambda s, t, v: D.frame_logits_kl(s, t, v, 2.0),
}


@pytest.mark.parametrize("name", ALL)
def test_gradients_are_those_of_finite_differences(name):
    student, teacher = random(2, 5, 8, grad=True), random(2, 5, 8)
    valid = torch.arange(5) < torch.tensor([5, 3])[:, None]
    assert torch.autograd.gradcheck(lambda s: ALL[name](s, teacher, valid), student)
    loss = ALL[name](student, teacher, valid)
    (3 * loss).backward()
    assert float(student.grad[1, 3:].abs().max()) == 0  # padding teaches nothing
    assert float(student.grad[1, :3].abs().max()) > 0


def test_an_intra_layer_loss_teaches_both_ends():
    states = [random(2, 5, 4, grad=True), random(2, 5, 4, grad=True), random(2, 5, 3), random(2, 5, 3)]
    valid = torch.arange(5) < torch.tensor([5, 3])[:, None]
    assert torch.autograd.gradcheck(
        lambda a, b: D.intra_gram(a, b, *states[2:], valid, "mean", 2), states[:2]
    )


@pytest.mark.parametrize("name", ["logits", "embedding"])
def test_gradients_of_clip_level_losses(name):
    loss = {"logits": lambda s, t: D.logits_kl(s, t, 2.0), "embedding": D.embedding_cosine}[name]
    teacher = random(3, 6)
    assert torch.autograd.gradcheck(lambda s: loss(s, teacher), random(3, 6, grad=True))


@pytest.mark.parametrize("name", ALL)
def test_a_padded_batch_has_the_mean_loss_of_its_utterances_alone(name):
    student, teacher = random(B, T, 8), random(B, T, 8)
    alone = [ALL[name](student[i : i + 1, :n], teacher[i : i + 1, :n], None) for i, n in enumerate(LENGTHS)]
    student, teacher = (torch.cat([x, 1e3 * random(B, 4, 8)], 1) for x in (student, teacher))
    valid = torch.arange(T + 4) < torch.tensor(LENGTHS)[:, None]
    assert_allclose(float(ALL[name](student, teacher, valid)), float(torch.stack(alone).mean()), rtol=1e-9)
    assert abs(float(ALL[name](student, teacher, None)) - float(torch.stack(alone).mean())) > 1e-3


@pytest.mark.parametrize("name", [name for name in ALL if name != "masking"])  # its two targets differ
def test_a_loss_of_equals_is_zero_and_its_gradient_too(name):
    state = random(B, T, 8, grad=True)
    if name == "attention":
        loss = D.average_attention(*[split_heads(state, 2)] * 4, masks())
    else:
        loss = ALL[name](state, state.detach().clone(), masks())
    loss.backward()
    loss = loss.detach()
    if name == "log_cosine":  # least where the cosine is 1, but not 0 there
        assert_allclose(float(loss), np.log(1 + np.exp(-1)), rtol=1e-9)
    else:
        assert abs(float(loss)) < 1e-12
    assert float(state.grad.abs().max()) < 1e-9


@pytest.mark.parametrize("name", ALL)
def test_losses_are_float32_inside_autocast(name):
    student, teacher = torch.randn(2, 5, 8, requires_grad=True), torch.randn(2, 5, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        halves = ALL[name](student.bfloat16(), teacher.bfloat16(), None)
        inside = ALL[name](student, teacher, None)
    assert halves.dtype == inside.dtype == torch.float32
    assert_allclose(float(inside.detach()), float(ALL[name](student, teacher, None).detach()), rtol=1e-6)
    inside.backward()
    assert torch.isfinite(student.grad).all()


class Largest(TorchDispatchMode):
    """Notes the most numbers that any operation gave at once."""

    def __init__(self):
        super().__init__()
        self.numbers = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        outputs = func(*args, **(kwargs or {}))
        for output in outputs if isinstance(outputs, tuple | list) else [outputs]:
            if isinstance(output, torch.Tensor):
                self.numbers = max(self.numbers, output.numel())
        return outputs


@pytest.mark.parametrize("name", ["layer_gram", "intra_gram", "attention"])
def test_relations_of_frames_never_exist_as_a_whole(name):
    batch, frames, heads, width, chunk = 2, 320, 3, 4, 16
    states = [torch.randn(batch, frames, width, requires_grad=index < 2) for index in range(4)]
    with Largest() as largest:
        if name == "layer_gram":
            D.layer_gram(states[0], states[2], chunk=chunk).backward()
        elif name == "intra_gram":
            D.intra_gram(*states, chunk=chunk).backward()
        else:
            maps = [state.unsqueeze(1).expand(-1, heads, -1, -1) for state in states]
            D.average_attention(*maps, chunk=chunk).backward()
    most = batch * chunk * frames * (heads if name == "attention" else 1)
    assert most <= largest.numbers < 2 * most
    assert largest.numbers < batch * frames * frames / 2
