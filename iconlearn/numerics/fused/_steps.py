"""Steps of gradient descent with momentum and gains, and the best state that they have led to."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from ._launch import kernel, launch

# Numbers of a program.
NUMBERS = 1024


def momentum_step(places, gradient, velocity, gains, rate, momentum, max_step):
    """Move rows by :class:`iconlearn.optim._momentum.MomentumGains`, of which it is the step on a device.

    Parameters
    ----------
    places, gradient, velocity, gains : Tensor of float32 of shape (n, d)
        Contiguous; all but the gradient are changed in place.
    rate, momentum : float
    max_step : float or None
        Longest step of a row; None is half the root of the mean squared length of the rows.
    """
    n, d = places.shape
    width = triton.next_power_of_2(d)
    rows = max(NUMBERS // width, 1)
    # With a given length the norm is not read.
    norm = torch.linalg.vector_norm(places) if max_step is None else places
    longest = 0.5 / n**0.5 if max_step is None else max_step
    launch(
        _move, triton.cdiv(n, rows), places, gradient, velocity, gains, norm, rate, momentum, longest, n,
        D=d, WIDTH=width, ROWS=rows, RELATIVE=max_step is None, num_warps=4,
    )  # fmt: skip


def keep_better(value, tensor, loss, best):
    """Write a tensor over `value`, which is like it, where its loss is below the best; both contiguous float32."""
    n = tensor.numel()
    launch(_keep, triton.cdiv(n, NUMBERS), value, tensor, loss, best, n, NUMBERS=NUMBERS, num_warps=4)


@kernel
def _move(
    places, gradient, velocity, gains, norm, rate, momentum, longest, n,
    D: tl.constexpr, WIDTH: tl.constexpr, ROWS: tl.constexpr, RELATIVE: tl.constexpr,
):  # fmt: skip
    i = tl.program_id(0) * ROWS + tl.arange(0, ROWS)[:, None]
    k = tl.arange(0, WIDTH)[None, :]
    on = (i < n) & (k < D)
    # Of a wide table there are more numbers than 32 bits count.
    at = i.to(tl.int64) * D + k
    g = tl.load(gradient + at, mask=on, other=0.0)
    v = tl.load(velocity + at, mask=on, other=0.0)
    gain = tl.load(gains + at, mask=on, other=0.0)
    gain = tl.maximum(gain - 0.2 * tl.where(g * v > 0, gain, -1.0), 0.01)
    v = v * momentum - rate * gain * g
    length = tl.sqrt(tl.sum(v * v, 1))[:, None]
    if RELATIVE:
        radius = tl.load(norm)
        # A map that is a single point at the origin has no radius to measure a step by.
        longest = tl.where(radius > 0, radius * longest, float("inf"))
    v = tl.where(length > longest, v * (longest / length), v)
    tl.store(velocity + at, v, mask=on)
    tl.store(gains + at, gain, mask=on)
    tl.store(places + at, tl.load(places + at, mask=on) + v, mask=on)


@kernel
def _keep(value, tensor, loss, best, n, NUMBERS: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * NUMBERS + tl.arange(0, NUMBERS)
    on = i < n
    on = on & (tl.load(loss + 0 * i, mask=on) < tl.load(best + 0 * i, mask=on))
    tl.store(value + i, tl.load(tensor + i, mask=on), mask=on)
