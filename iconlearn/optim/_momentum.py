"""Gradient descent with momentum and a gain for every coordinate, as in t-SNE."""

from __future__ import annotations

import math

import torch

from .._kernels import either
from ..numerics.threads import WIDE, available, compiled_pays


class MomentumGains:
    """Gradient descent with momentum and a gain for every coordinate (delta-bar-delta), as in t-SNE.

    A gain grows by 0.2 while its coordinate keeps moving downhill and shrinks by a fifth when it turns; no
    point moves further than `max_step` at once (None: half the map's root-mean-square radius).

    It has the ``step(closure)`` of torch's optimisers and is none of them: the first of those in a process
    loads torch's compiler, which takes longer than the whole fit of a small map.

    ``mean(values)`` of rows is that over the rows of all processes; None where there is one.

    Steps do not depend on the value of the loss, so that it may be read later.
    """

    def __init__(self, parameters, lr, momentum=0.8, max_step=None, mean=None):
        self.lr, self.momentum, self.max_step = lr, momentum, max_step
        self.mean = mean
        self.parameters = list(parameters)
        self.velocities = [torch.zeros_like(p) for p in self.parameters]
        self.gains = [torch.ones_like(p) for p in self.parameters]
        self.constants = {}

    def state_dict(self):
        """What the next step depends on, besides the parameters."""
        return {"velocities": self.velocities, "gains": self.gains}

    def load_state_dict(self, state):
        for mine, stored in zip(
            self.velocities + self.gains, state["velocities"] + state["gains"], strict=True
        ):
            mine.copy_(stored)

    @torch.no_grad()
    def rest(self, moved):
        """Let some rows (a mask) begin again, at places that no step has led to."""
        for velocity, gains in zip(self.velocities, self.gains, strict=True):
            velocity.masked_fill_(moved[:, None], 0.0)
            gains.masked_fill_(moved[:, None], 1.0)

    def step(self, closure):
        loss = closure()
        with torch.no_grad():
            for state in zip(self.parameters, self.velocities, self.gains, strict=True):
                if state[0].grad is not None:
                    self._move(*state)
        return loss

    def _move(self, parameter, velocity, gains):
        state = parameter, parameter.grad, velocity, gains
        if parameter.ndim == 2 and self.mean is None and compiled_pays(parameter, WIDE):
            self._compiled(*state)
        elif parameter.ndim == 2 and self.mean is None:
            longest = "as wide as the map" if self.max_step is None else "given"
            kind = f"momentum in {parameter.shape[1]}-D with a longest step that is {longest}"
            either(kind, state, self._fused, self._plain)
        else:
            self._plain(*state)

    def _fused(self, parameter, g, velocity, gains):
        from ..numerics.fused import momentum_step

        momentum_step(parameter, g, velocity, gains, self.lr, self.momentum, self.max_step)
        return parameter, velocity, gains

    def _compiled(self, *state):
        from ..numerics.compiled import momentum_step

        places, g, velocity, gains = (tensor.detach().numpy() for tensor in state)
        momentum_step(places, g, velocity, gains, self.lr, self.momentum, self.max_step, available())

    def _plain(self, parameter, g, velocity, gains):
        # The velocity points downhill where it opposes the gradient; at rest it points nowhere.
        if parameter.device.type == "cpu":
            turning = torch.logical_and(velocity, g * velocity >= 0)
            torch.clamp_min(torch.where(turning, gains * 0.8, gains + 0.2), 0.01, out=gains)
        else:
            # The same with as few launches as can be, but where rounding makes a slope exactly zero.
            lowered = torch.where(g * velocity > 0, gains, self._constant(gains, -1.0))
            gains.add_(lowered, alpha=-0.2).clamp_min_(0.01)
        velocity.mul_(self.momentum).addcmul_(gains, g, value=-self.lr)
        if parameter.ndim == 2:
            length = torch.linalg.vector_norm(velocity, dim=1, keepdim=True)
            velocity.mul_(self._shares(parameter, length))
        parameter.add_(velocity)
        return parameter, velocity, gains

    def _shares(self, parameter, length):
        """How much of a step of this length is taken."""
        if parameter.device.type == "cpu" or self.mean is not None:
            longest = self.max_step
            if longest is None:
                longest = 0.5 * (self.mean or torch.mean)(parameter.square().sum(dim=1)).sqrt()
            scale = longest / length.clamp_min(1e-30)
            # A map that is a single point at the origin has no radius to measure a step by.
            return torch.where(scale > 0, scale, 1.0).clamp_max(1.0)
        if self.max_step is not None:
            return (self.max_step / length).clamp_max(1.0)
        radius = torch.threshold(torch.linalg.vector_norm(parameter), 0.0, math.inf)
        half = 0.5 / len(parameter) ** 0.5
        return torch.addcdiv(self._constant(length, 0.0), radius, length, value=half).clamp_max_(1.0)

    def _constant(self, like, value):
        """A number where a tensor is, made once."""
        key = value, like.dtype, like.device
        if key not in self.constants:
            self.constants[key] = like.new_full((), value)
        return self.constants[key]
