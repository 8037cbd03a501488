"""Blocks' parts, against torch's own or the formula."""

import warnings

import torch
import torch.nn.functional as F

from eventmodel.config import ModelConfig
from eventmodel.heads import shares
from eventmodel.layers import RMSNorm, Rotary


def test_the_norm_and_its_gradients_are_torch_s() -> None:
    torch.manual_seed(0)
    norm = RMSNorm(13)
    torch.nn.init.normal_(norm.weight)
    x, upstream = torch.randn(2, 5, 7, 13).unbind()
    x[0, 0] = 0  # padding: finite all the same
    ours, theirs = (x.clone().requires_grad_() for _ in range(2))
    norm(ours).backward(upstream)
    gain = norm.weight.detach().clone().requires_grad_()
    F.rms_norm(theirs, (13,), gain, norm.eps).backward(upstream)
    torch.testing.assert_close(norm(ours), F.rms_norm(theirs, (13,), gain, norm.eps))
    torch.testing.assert_close(ours.grad, theirs.grad)
    torch.testing.assert_close(norm.weight.grad, gain.grad)


def test_a_norm_that_is_not_trained_can_be_traced() -> None:
    x = torch.randn(2, 3, 13)
    norm = RMSNorm(13)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # TorchScript is
        traced = torch.jit.trace(norm.eval(), x)
        frozen = torch.jit.freeze(traced)
        frozen.save_to_buffer()
    torch.testing.assert_close(frozen(x), norm(x))


def test_rotary_positions_turn_each_pair_of_a_head_by_its_angle() -> None:
    n_heads, width, length = 3, 10, 7
    x = torch.randn(2, length, n_heads * width, dtype=torch.float64)
    position = torch.tensor([4, 0, 1, 6, 2, 3, 5])
    angle = position[:, None].double() * 10_000.0 ** (-torch.arange(0, width, 2) / width)
    a, b = x.unflatten(-1, (n_heads, 2, width // 2)).unbind(-2)
    turned = torch.complex(a, b) * torch.polar(torch.ones_like(angle), angle)[:, None]
    expected = torch.stack((turned.real, turned.imag), -2).flatten(-3)
    found = Rotary(ModelConfig(d_model=n_heads * width, n_heads=n_heads), length)(x, position)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_what_is_left_to_the_vocabulary_is_exact_however_sure_the_copying() -> None:
    gate = torch.linspace(-40, 40, 81)[:, None]
    share, rest = shares(gate)
    for found, logit in ((share, gate), (rest, -gate)):
        torch.testing.assert_close(found.double(), torch.sigmoid(logit.double()), rtol=1e-5, atol=0)
