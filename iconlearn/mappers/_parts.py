"""Mappers put together from others: heads on an encoder, and what is added to the row itself.

Projected     z_i = predictor( projector( encoder(x_i) ) ), of which users are shown encoder(x_i)
Residual      z_i = x_i + f(x_i)
Headed        z_i = W body(x_i) + b, the body learned elsewhere
PatchPairs    z_i = head( encoder(one part), encoder(another) )
"""

from __future__ import annotations

import copy
import math
from itertools import pairwise

import torch
from torch import nn

from .._checks import check_number, image_shape, suggest
from ..views import Tiles
from ._base import MLP, Linear, Mapper, given, hidden_widths, layer, n_outputs_of, with_images

# Parts of an image, three down and three across.
N_PARTS = 9
ENCODERS = {"linear": Linear, "mlp": MLP}


class Projected(Mapper):
    """An encoder with heads: the loss sees what they make of its features, and users are shown the features.

    Parameters
    ----------
    encoder : {"mlp", "linear"}, Mapper, torch module or callable, default="mlp"
        Gives `n_components` features for a row; a module is copied, and a function of (n_inputs, n_outputs) makes one.
    projector : int or tuple of int, default=(128, 32)
        Widths of the layers of the head, with batch normalisation and ReLU between them; the last are its outputs.
    predictor : int, tuple of int or None, default=None
        Hidden widths of a second head on the first one's outputs, as wide as these; a teacher (:class:`EMA`) has none.

    References
    ----------
    Chen et al., "A simple framework for contrastive learning of visual representations", ICML 2020; Grill et al.,
    "Bootstrap your own latent", NeurIPS 2020.
    """

    def __init__(self, encoder="mlp", projector=(128, 32), *, predictor=None):
        self.encoder = encoder
        self.projector = projector
        self.predictor = predictor

    @property
    def own_precision(self):
        return _encoder(self.encoder).own_precision

    def for_images(self, shape):
        encoder = _encoder(self.encoder).for_images(shape)
        return Projected(encoder, self.projector, predictor=self.predictor)

    def build(self, n_inputs, n_outputs, n_rows, generator):
        spec, widths = _encoder(self.encoder), hidden_widths("projector", self.projector)
        if not spec.parametric or not widths:
            raise ValueError(
                f"mapper={self!r:.200} needs an encoder of features, such as 'mlp' or a module, and at least one layer "
                f"of the projector, such as projector=(128, 32)"
            )
        encoder = spec.build(n_inputs, n_outputs, n_rows, generator)
        projector, predictor = _head((n_outputs, *widths), generator), None
        if self.predictor is not None:
            hidden = hidden_widths("predictor", self.predictor)
            predictor = _head((widths[-1], *hidden, widths[-1]), generator)
        module = ProjectedModule(encoder, projector, predictor)
        # The heads in the precision of a module that has its own.
        like = next(encoder.parameters(), None)
        return module if like is None else module.to(like.dtype)


def _encoder(value):
    """The specification of an encoder."""
    if isinstance(value, str):
        if value not in ENCODERS:
            raise ValueError(
                f"encoder={value!r} is not known: it must be one of {', '.join(map(repr, ENCODERS))}, a mapper, a "
                f"torch module or a function that makes one.{suggest(value, ENCODERS)}"
            )
        return ENCODERS[value]()
    if isinstance(value, Mapper):
        return value
    if isinstance(value, nn.Module) or callable(value):
        return given(value)
    raise TypeError(
        f"encoder={value!r:.100} is no encoder: give 'mlp', 'linear', a mapper, a torch module or a function that "
        f"makes one"
    )


def _head(widths, generator):
    layers = []
    for before, after in pairwise(widths):
        layers += [layer(before, after, generator), BatchNorm(after), nn.ReLU()]
    return nn.Sequential(*layers[:-2])


class BatchNorm(nn.BatchNorm1d):
    """torch's batch normalisation, which a batch of one row passes by what earlier batches had."""

    def forward(self, X):
        if not (self.training and len(X) == 1):
            return super().forward(X)
        return nn.functional.batch_norm(
            X, self.running_mean, self.running_var, self.weight, self.bias, training=False, eps=self.eps
        )


class ProjectedModule(nn.Module):
    """Heads on an encoder.

    Parameters
    ----------
    encoder, projector : torch.nn.Module
    predictor : torch.nn.Module or None
    """

    encodes = True

    def __init__(self, encoder, projector, predictor=None):
        super().__init__()
        self.encoder, self.projector, self.predictor = encoder, projector, predictor

    @property
    def predicts(self):
        return self.predictor is not None

    def forward(self, X):
        Z = self.projector(self.encoder(X))
        return Z if self.predictor is None else self.predictor(Z)

    def read(self, X):
        """Features of rows."""
        return self.encoder(X)

    def target(self):
        """What a teacher follows: encoder and projector, the same ones."""
        return ProjectedModule(self.encoder, self.projector)


class Residual(Mapper):
    """What is to be changed of a row: z = x + f(x) with a multi-layer perceptron f, which begins at zero.

    Parameters
    ----------
    hidden : int or tuple of int, default=(256,)
        Widths of its hidden layers.
    """

    def __init__(self, hidden=(256,)):
        self.hidden = hidden

    def build(self, n_inputs, n_outputs, n_rows, generator):
        if n_inputs != n_outputs:
            raise ValueError(
                f"mapper={self!r} adds to its input, so it gives as many numbers as it reads, {n_inputs}, and "
                f"{n_outputs} are asked for; use n_components={n_inputs}"
            )
        change = MLP(self.hidden).build(n_inputs, n_outputs, n_rows, generator)
        for parameter in change[-1].parameters():
            nn.init.zeros_(parameter)
        return ResidualModule(change)


class ResidualModule(nn.Module):
    """z = x + change(x)."""

    def __init__(self, change):
        super().__init__()
        self.change = change

    def forward(self, X):
        return X + self.change(X)


class PatchPairs(Mapper):
    """One encoder for all parts of an image, and a network that reads the codes of two of them.

    It reads rows of two kinds: a pair of parts, as :class:`iconlearn.supervisory.Pretext` with "patches" makes them,
    of which it gives what tells their relative place; and a whole image, of which it gives the codes of its nine parts
    side by side, which is what ``transform`` returns.

    Parameters
    ----------
    shape : tuple of int
        (height, width) or (channels, height, width) of the images.
    encoder : Mapper, torch module or callable, default=MLP(64)
        From the numbers of a part to its code, of a ninth of the outputs.
    hidden : int, default=128
        Width of the layer that reads two codes.
    gap : int, default=0
        As for :class:`iconlearn.supervisory.Pretext`.
    """

    def __init__(self, shape, *, encoder=None, hidden=128, gap=0):
        self.shape = shape
        self.encoder = encoder
        self.hidden = hidden
        self.gap = gap

    def build(self, n_inputs, n_outputs, n_rows, generator):
        shape = image_shape(self.shape)
        if n_inputs != math.prod(shape):
            raise ValueError(
                f"PatchPairs reads images of shape={self.shape!r}, and rows have {n_inputs} numbers"
            )
        if n_outputs % N_PARTS:
            raise ValueError(
                f"n_components={n_outputs} must be a multiple of {N_PARTS}: an image has a code for each of its parts"
            )
        gap = check_number("gap", self.gap, integer=True)
        hidden = check_number("hidden", self.hidden, low=1, integer=True)
        spec = MLP(64) if self.encoder is None else self.encoder
        spec = spec if isinstance(spec, Mapper) else given(spec)
        n_numbers = shape[0] * math.prod(Tiles(shape, 3, gap).size)
        encoder = spec.build(n_numbers, n_outputs // N_PARTS, n_rows, generator)
        head = MLP(hidden).build(2 * (n_outputs // N_PARTS), n_outputs, n_rows, generator)
        return PatchPairsModule(shape, gap, encoder, head)


class Headed(Mapper):
    """A body that was learned elsewhere, and one new linear layer on its outputs: transfer.

    Parameters
    ----------
    body : torch module
        Such as ``mapper_`` of a fit without labels; copied, never changed.
    rate : float, default=0.1
        Steps of the body as a share of those of the new layer, in [0, 1]; 0 freezes it, its dropout and its running
        means too, and anything above trains all of it.

    References
    ----------
    Yosinski, Clune, Bengio and Lipson, "How transferable are features in deep neural networks?", NeurIPS 2014.
    """

    own_precision = True

    def __init__(self, body, rate=0.1):
        self.body = body
        self.rate = rate

    def for_images(self, shape):
        body = self.body
        return Headed(with_images(body, shape) if isinstance(body, nn.Module) else body, self.rate)

    def build(self, n_inputs, n_outputs, n_rows, generator):
        if not isinstance(self.body, nn.Module):
            raise TypeError(
                f"body={self.body!r:.200} must be a torch.nn.Module, such as mapper_ of a fitted estimator"
            )
        rate = check_number("rate", self.rate, low=0, high=1, hint="0 freezes the body")
        body = copy.deepcopy(self.body)
        width = n_outputs_of(body, "body", self.body, n_inputs)
        like = next(body.parameters(), torch.zeros(0))
        head = layer(width, n_outputs, generator).to(dtype=like.dtype)
        return HeadedModule(body, head, rate)


class PatchPairsModule(nn.Module):
    """Codes of two parts of an image read together, or those of all nine side by side."""

    def __init__(self, shape, gap, encoder, head):
        super().__init__()
        self.shape, self.gap, self.tiles = shape, gap, Tiles(shape, 3, gap)
        self.encoder, self.head = encoder, head

    def forward(self, X):
        whole = X.shape[1] == math.prod(self.shape)
        parts = (
            self.tiles.cut(X.view(-1, *self.shape)).flatten(0, 1).flatten(1)
            if whole
            else X.view(2 * len(X), -1)
        )
        codes = self.encoder(parts).view(len(X), -1)
        return codes if whole else self.head(codes)


class HeadedModule(nn.Module):
    """A head on a body, which is frozen or learns at a rate of its own."""

    def __init__(self, body, head, rate):
        super().__init__()
        self.body, self.head, self.rate = body.requires_grad_(rate > 0), head, rate
        self.rates = {"body": rate} if rate > 0 else {}

    def forward(self, X):
        return self.head(self.body(X))

    def train(self, mode=True):
        super().train(mode)
        if self.rate == 0:
            self.body.eval()
        return self
