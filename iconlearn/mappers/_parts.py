"""Mappers put together from others: heads on an encoder, and what is added to the row itself.

Projected     z_i = predictor( projector( encoder(x_i) ) ), of which users are shown encoder(x_i)
Residual      z_i = x_i + f(x_i)
"""

from __future__ import annotations

from itertools import pairwise

from torch import nn

from .._checks import suggest
from ._base import MLP, Linear, Mapper, given, hidden_widths, layer

__all__ = ["BatchNorm", "Projected", "ProjectedModule", "Residual", "ResidualModule"]

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
