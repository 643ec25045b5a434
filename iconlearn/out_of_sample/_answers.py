"""What a fit with a mapper of features says of rows, as one torch module: for exports to other runtimes."""

from __future__ import annotations

import copy

import torch

from ..classification._prototypes import log_similarities
from ..mappers import declares


class AnswerModule(torch.nn.Module):
    """From rows of features to places, memberships or class probabilities.

    Parameters
    ----------
    mapper : torch.nn.Module
        Copied, as all that is given.
    q : Learned
    features : slice or None, default=None
        Those that the mapper reads; None for all.
    used : ndarray of int or None, default=None
        The outputs of q among which the answers are shares; None: answers are the outputs themselves.
    prototypes : Tensor of shape (n_classes, n_outputs) or None, default=None
        Given, answers are the probabilities of classes.
    log_odds : ndarray of shape (n_classes,) or None, default=None
        Added to the log similarities to prototypes.
    temperature : float, default=1.0
        Divides them.
    """

    def __init__(
        self, mapper, q, features=None, *, used=None, prototypes=None, log_odds=None, temperature=1.0
    ):
        super().__init__()
        self.mapper, self.q = copy.deepcopy(mapper).eval(), _constant(q)
        self.features, self.temperature = features, float(temperature)
        for name, value in (("used", used), ("prototypes", prototypes), ("log_odds", log_odds)):
            self.register_buffer(name, None if value is None else torch.as_tensor(value).detach().clone())
        self.shares, self.encodes = used is not None, declares(mapper, "encodes")
        self.dtype = next((weight.dtype for weight in mapper.parameters()), torch.float32)
        self.eval()

    def forward(self, X):
        """Answers for rows of X, a tensor of shape (n_rows, n_features); in the precision of the mapper."""
        X = X.to(self.dtype)
        X = X if self.features is None else X[:, self.features]
        if self.encodes:
            return self.mapper.read(X)
        Z = self.mapper(X)
        if self.prototypes is not None:
            scores = log_similarities(self.q, Z, self.prototypes)
            if self.log_odds is not None:
                scores = scores + self.log_odds.to(scores.dtype)
            return torch.softmax(scores / self.temperature, 1)
        Z = self.q.represent(Z)
        if self.shares:
            Z = Z[:, self.used]
            Z = Z / Z.sum(1, keepdim=True)
        return Z


def _constant(q):
    """A copy of q whose tensors are numbers, and no parameters that a module would have to register."""
    q = copy.deepcopy(q)
    for name, value in vars(q).items():
        if isinstance(value, torch.Tensor):
            setattr(q, name, value.detach())
    return q
