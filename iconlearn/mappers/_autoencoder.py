"""Autoencoders: a code z = c(x) of every row, and a decoder d of the codes; the outputs are d(c(x)).

    loss = KL( delta at x || q(.|d(z)) ) + cost of the code

Users are shown the code, and `n_components` is its width.
"""

from __future__ import annotations

import copy
from contextlib import nullcontext
from itertools import pairwise
from math import prod

import torch
from torch import nn

from .._checks import check_choice, image_shape
from ._base import Mapper, drawn, hidden_widths, layer, rectified
from ._costs import L1, Code, Contractive, Cost, Prior, Sparse

CODES = ("plain", "sigmoid", "gaussian")
COSTS = {cost.__name__: cost for cost in (Contractive, L1, Prior, Sparse)}


class _Coder(Mapper):
    """What the specifications of autoencoders share: how many numbers the targets have, and what was made."""

    # Once it is known.
    n_targets: int | None = None

    def for_targets(self, n_targets):
        """See :meth:`Mapper.for_targets`."""
        other = copy.copy(self)
        other.n_targets = n_targets
        return other

    def _needed(self):
        if self.n_targets is None:
            raise ValueError(
                f"mapper={self!r:.200} restores targets, and this p has none; use p='restore' with "
                f"q=iconlearn.learned.Gaussian(normalize='space'), or mapper='mlp'"
            )
        return self.n_targets

    def _module(self, encoder, decoder, cost, n_inputs, n_outputs):
        """The module, with how it was made, in numbers and names alone."""
        parameters = self.get_params(deep=False)
        if self.cost is not None:
            parameters["cost"] = [type(self.cost).__name__, self.cost.get_params()]
        made = {
            "kind": type(self).__name__,
            "parameters": {k: list(v) if isinstance(v, tuple) else v for k, v in parameters.items()},
            "sizes": [n_inputs, n_outputs, self.n_targets],
        }
        return AutoencoderModule(nn.Sequential(*encoder), nn.Sequential(*decoder), self.code, cost, made)


class Autoencoder(_Coder):
    """An encoder to codes and a decoder from them, both multi-layer perceptrons with ReLU between their layers.

    Parameters
    ----------
    hidden : int or tuple of int, default=(128,)
        Widths of the encoder's hidden layers; the decoder has them in reverse.  Without any, both are linear.
    code : {"plain", "sigmoid", "gaussian"}, default="plain"
        What a code is: the outputs of the encoder, those between 0 and 1, or the mean of a Gaussian distribution of
        which training draws (its variances are further outputs).
    cost : Cost or None, default=None
        What is added to the loss for the codes: :class:`Sparse`, :class:`L1`, :class:`Contractive`, :class:`Prior`.
        A Gaussian code without a cost has :class:`Prior`.

    Notes
    -----
    It needs targets, ``p="restore"``.  ``transform`` gives the code, ``inverse_transform`` decodes.
    """

    def __init__(self, hidden=(128,), *, code="plain", cost=None):
        self.hidden = hidden
        self.code = code
        self.cost = cost

    def build(self, n_inputs, n_outputs, n_rows, generator):
        cost, n_targets = checked_cost(self.code, self.cost), self._needed()
        hidden = hidden_widths("hidden", self.hidden)
        encoder = rectified((n_inputs, *hidden, _width(self.code, n_outputs)), generator)[:-1]
        decoder = rectified((n_outputs, *reversed(hidden), n_targets), generator)[:-1]
        return self._module(encoder, decoder, cost, n_inputs, n_outputs)


class ConvAutoencoder(_Coder):
    """An autoencoder of images, by convolutions that halve their sides and others that double them.

    Parameters
    ----------
    shape : tuple of int
        (height, width) or (channels, height, width) of the images that rows are.
    channels : int or tuple of int, default=(16, 32)
        Channels after each halving.
    pool : {"stride", "max"}, default="stride"
        How sides are halved and doubled: by convolutions and transposed convolutions of stride two, or by maxima of two
        by two and by repetition, each beside a convolution.
    code, cost
        As for :class:`Autoencoder`.

    References
    ----------
    Masci et al., "Stacked convolutional auto-encoders for hierarchical feature extraction", ICANN 2011.
    """

    def __init__(self, shape, channels=(16, 32), *, pool="stride", code="plain", cost=None):
        self.shape = shape
        self.channels = channels
        self.pool = pool
        self.code = code
        self.cost = cost

    def build(self, n_inputs, n_outputs, n_rows, generator):
        cost = checked_cost(self.code, self.cost)
        shape = image_shape(self.shape, n_inputs)
        check_choice("pool", self.pool, ("stride", "max"))
        channels = (shape[0], *hidden_widths("channels", self.channels))
        if self._needed() != n_inputs:
            raise ValueError(
                f"ConvAutoencoder(shape={self.shape!r}) decodes images of its own shape, {n_inputs} numbers a row, and "
                f"the targets have {self.n_targets}; use mappers.Autoencoder()"
            )
        sides = [shape[1:]]
        for _ in channels[1:]:
            sides.append(tuple(-(-side // 2) for side in sides[-1]))
        flat = channels[-1] * prod(sides[-1])
        down = [nn.Unflatten(1, shape)]
        for before, after in pairwise(channels):
            down += [*_halving(before, after, self.pool, generator), nn.ReLU()]
            if self.pool == "max":
                down.append(nn.MaxPool2d(2, ceil_mode=True))
        down += [nn.Flatten(1), layer(flat, _width(self.code, n_outputs), generator)]
        up = [layer(n_outputs, flat, generator), nn.ReLU(), nn.Unflatten(1, (channels[-1], *sides[-1]))]
        for k in reversed(range(1, len(channels))):
            up += [*_doubling(channels[k], channels[k - 1], sides[k], sides[k - 1], self.pool, generator)]
            up += [nn.ReLU()] if k > 1 else [nn.Flatten(1)]
        return self._module(down, up, cost, n_inputs, n_outputs)


def checked_cost(code, cost):
    """The cost of a code.

    Raises
    ------
    TypeError
        If it is no cost.
    ValueError
        If there is no such code, or such a cost cannot be asked of it.
    """
    check_choice("code", code, CODES)
    if cost is None:
        return Prior() if code == "gaussian" else None
    if not isinstance(cost, Cost):
        raise TypeError(
            f"cost={cost!r:.100} of an autoencoder is no cost of a code: use None, or one of "
            f"{', '.join(f'mappers.{name}()' for name in COSTS)}"
        )
    cost.check()
    if cost.needs not in (None, code):
        raise ValueError(
            f"cost={cost!r} cannot be asked of code={code!r}: it is about codes of the kind {cost.needs!r}; use "
            f"code={cost.needs!r}"
        )
    return copy.deepcopy(cost)


def _width(code, n_codes):
    return 2 * n_codes if code == "gaussian" else n_codes


def _halving(before, after, pool, generator):
    stride = 2 if pool == "stride" else 1
    return [drawn(nn.Conv2d, 9 * before, generator, before, after, 3, stride=stride, padding=1)]


def _doubling(before, after, sides, wanted, pool, generator):
    if pool == "max":
        return [
            nn.Upsample(size=wanted),
            drawn(nn.Conv2d, 9 * before, generator, before, after, 3, padding=1),
        ]
    extra = tuple(want - (2 * side - 1) for side, want in zip(sides, wanted, strict=True))
    return [
        drawn(
            nn.ConvTranspose2d, 9 * after, generator, before, after, 3, stride=2, padding=1, output_padding=extra,
        )
    ]  # fmt: skip


def made_again(kind, parameters, sizes):
    """A module made as another one was, with other weights; see `AutoencoderModule.made`."""
    specs = {cls.__name__: cls for cls in (Autoencoder, ConvAutoencoder)}
    if parameters["cost"] is not None:
        name, numbers = parameters["cost"]
        parameters = {**parameters, "cost": COSTS[name](**numbers)}
    n_inputs, n_outputs, n_targets = sizes
    spec = specs[kind](**parameters).for_targets(n_targets)
    return spec.build(n_inputs, n_outputs, 0, torch.Generator())


class AutoencoderModule(nn.Module):
    """Outputs d(c(x)) of an encoder c and a decoder d.

    Parameters
    ----------
    encoder, decoder : torch.nn.Module
    code : str
    cost : Cost or None
    made : dict
        How it was made; see :func:`made_again`.
    """

    encodes = decodes = True

    def __init__(self, encoder, decoder, code, cost, made):
        super().__init__()
        self.encoder, self.decoder = encoder, decoder
        self.code, self.cost_of, self.made = code, cost, made
        self.last_cost = None

    @property
    def costs(self):
        return self.cost_of is not None

    @property
    def samples(self):
        return self.code == "gaussian"

    def forward(self, X):
        follows = self.costs and self.cost_of.slopes
        with torch.enable_grad() if follows else nullcontext():
            X = X.detach().requires_grad_() if follows else X
            Z, log_variances = self._code(X)
            if self.costs:
                cost = self.cost_of(Code(X, Z, log_variances, self.training))
                self.last_cost = cost if self.training else cost.detach()
        if self.samples and self.training:
            Z = Z + torch.exp(0.5 * log_variances) * torch.randn_like(Z)
        return self.decoder(Z)

    def read(self, X):
        """The codes of rows; of distributions the means."""
        return self._code(X)[0]

    def decode(self, Z):
        """Rows of features for codes."""
        return self.decoder(Z)

    def cost(self):
        """What the codes of the last forward pass cost; asked once, since a graph can be neither copied nor stored."""
        last, self.last_cost = self.last_cost, None
        return last

    def _code(self, X):
        out = self.encoder(X)
        if self.code == "gaussian":
            return out.chunk(2, dim=1)
        return (torch.sigmoid(out) if self.code == "sigmoid" else out), None
