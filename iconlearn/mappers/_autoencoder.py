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
from ._base import Mapper, drawn, hidden_widths, layer
from ._costs import L1, Code, Contractive, Cost, Prior, Sparse

__all__ = ["Autoencoder", "AutoencoderModule", "ConvAutoencoder", "made_again"]

CODES = ("plain", "sigmoid", "gaussian")
COSTS = {cost.__name__: cost for cost in (Contractive, L1, Prior, Sparse)}


class Autoencoder(Mapper):
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

    # Numbers of a target, once they are known.
    n_targets: int | None = None

    def for_targets(self, n_targets):
        """See :meth:`Mapper.for_targets`."""
        return _with_targets(self, n_targets)

    def build(self, n_inputs, n_outputs, n_rows, generator):
        cost, n_targets = checked_cost(self.code, self.cost), _needed(self)
        hidden = hidden_widths("hidden", self.hidden)
        encoder = _layers((n_inputs, *hidden, _width(self.code, n_outputs)), generator)
        decoder = _layers((n_outputs, *reversed(hidden), n_targets), generator)
        return AutoencoderModule(encoder, decoder, self.code, cost, _made(self, n_inputs, n_outputs))


class ConvAutoencoder(Mapper):
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

    n_targets: int | None = None

    def for_targets(self, n_targets):
        """See :meth:`Mapper.for_targets`."""
        return _with_targets(self, n_targets)

    def build(self, n_inputs, n_outputs, n_rows, generator):
        cost = checked_cost(self.code, self.cost)
        shape = image_shape(self.shape, n_inputs)
        check_choice("pool", self.pool, ("stride", "max"))
        channels = (shape[0], *hidden_widths("channels", self.channels))
        if _needed(self) != n_inputs:
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
        made = _made(self, n_inputs, n_outputs)
        return AutoencoderModule(nn.Sequential(*down), nn.Sequential(*up), self.code, cost, made)


def _needed(spec):
    if spec.n_targets is None:
        raise ValueError(
            f"mapper={spec!r:.200} restores targets, and this p has none; use p='restore' with "
            f"q=iconlearn.learned.Gaussian(normalize='space'), or mapper='mlp'"
        )
    return spec.n_targets


def _with_targets(spec, n_targets):
    other = copy.copy(spec)
    other.n_targets = n_targets
    return other


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


def _layers(widths, generator):
    layers = []
    for before, after in pairwise(widths):
        layers += [layer(before, after, generator), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


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


def _made(spec, n_inputs, n_outputs):
    """How a module was made, in numbers and names alone."""
    parameters = spec.get_params(deep=False)
    if spec.cost is not None:
        parameters["cost"] = [type(spec.cost).__name__, spec.cost.get_params()]
    return {
        "kind": type(spec).__name__,
        "parameters": {k: list(v) if isinstance(v, tuple) else v for k, v in parameters.items()},
        "sizes": [n_inputs, n_outputs, spec.n_targets],
    }


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
