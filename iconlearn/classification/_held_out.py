"""Held-out rows: when to stop, which state to keep, and how sure the answers should be.

    score = mean log q(y_i | x_i),        temperature = arg max_t mean log softmax((log k + log odds) / t)_{y_i}

Guo et al., "On calibration of modern neural networks", ICML 2017.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from scipy.sparse import issparse
from sklearn.model_selection import train_test_split

from ..optim import copies, put_back
from ._prototypes import averaged, class_means, log_similarities

# Temperatures are looked for between exp(-4) and exp(4).
LOG_RANGE = 4.0


def hold_out(codes, fraction, rng):
    """Rows to learn from and rows to judge by, every class in both.

    Raises
    ------
    ValueError
        If a class has one row only, or the held-out rows cannot hold all classes.
    """
    sizes = np.bincount(codes)
    if sizes.min() < 2:
        raise ValueError(
            f"{int((sizes == 1).sum())} of the {len(sizes)} classes in y have one row only, so that none can be held "
            f"out; give them more rows, or set early_stopping=False and calibrate=False"
        )
    n_held = max(len(sizes), math.ceil(fraction * len(codes)))
    if len(codes) - n_held < len(sizes):
        raise ValueError(
            f"validation_fraction={fraction} of {len(codes)} rows leaves no room for {len(sizes)} classes on both "
            f"sides; give more rows, or set early_stopping=False and calibrate=False"
        )
    return train_test_split(np.arange(len(codes)), test_size=n_held, stratify=codes, random_state=rng)


class HeldOutScore:
    """Mean log probability of the classes of held-out rows, as the parameters of a problem are at the time.

    Parameters
    ----------
    problem : Problem
        Of the rows that are learned from, beside classes or beside one another.
    X : array or sparse matrix of shape (n_held, n_inputs)
        What the mapper reads of the held-out rows.
    codes : ndarray of int of shape (n_held,)
    weight : ndarray of shape (n_held,) or None
    learned : tuple of (ndarray of int, ndarray or None)
        Classes and weights of the rows that are learned from, whose class means are the prototypes of a p over
        pairs.
    log_odds : ndarray of shape (n_classes,) or None
        What is added to the log similarities, as in the answers.
    **like
        dtype and device of the inputs.
    """

    def __init__(self, problem, X, codes, weight, learned, log_odds=None, **like):
        self.problem, self.learned = problem, learned
        share, counted = _shares(codes, weight)
        X = X[counted]
        self.inputs = torch.tensor(X.toarray() if issparse(X) else X).to(**like)
        self.codes = torch.as_tensor(codes[counted], device=self.inputs.device)
        self.share = torch.as_tensor(share, device=self.inputs.device)
        self.log_odds = None if log_odds is None else torch.as_tensor(log_odds, device=self.inputs.device)

    @torch.no_grad()
    def __call__(self):
        mapper = self.problem.rows.mapper
        was_training = mapper.training
        mapper.eval()
        log_k = log_similarities(self.problem.q, mapper(self.inputs), self._prototypes())
        mapper.train(was_training)
        log_k = log_k.double() if self.log_odds is None else log_k.double() + self.log_odds
        log_q = torch.log_softmax(log_k, 1).gather(1, self.codes[:, None])[:, 0]
        return float((log_q * self.share).sum())

    def _prototypes(self):
        if not self.problem.tied:
            return self.problem.columns.at()
        Z, (codes, weight) = averaged(self.problem.q, self.problem.rows.at()), self.learned
        return class_means(Z, codes, weight, int(codes.max()) + 1)


class EarlyStopping:
    """A callback that scores every iteration on held-out rows, and remembers the best state.

    Parameters
    ----------
    score : callable
        The score of the present state, larger is better.
    tensors : callable
        ``tensors()`` lists all that belongs to a state: parameters, running means.
    patience : int
        Iterations in a row without a better score that end the fit.
    tol : float
        What counts as better.

    Attributes
    ----------
    scores : list of float
    stopped : bool
        Whether it ended the fit.
    """

    def __init__(self, score, tensors, patience, tol):
        self.score, self.tensors, self.patience, self.tol = score, tensors, patience, tol
        self.scores, self.best, self.kept, self.idle, self.stopped = [], -math.inf, None, 0, False

    def __call__(self, record):
        score = self.score()
        self.scores.append(score)
        self.idle = 0 if score > self.best + self.tol else self.idle + 1
        if self.kept is None or score > self.best:
            self.best, self.kept = score, copies(self.tensors())
        self.stopped = self.idle >= self.patience
        return self.stopped

    def restore(self):
        """Put the best state back."""
        if self.kept is not None:
            put_back(self.tensors(), self.kept)


def best_temperature(log_k, codes, weight=None):
    """The temperature under which held-out rows are likeliest.

    Parameters
    ----------
    log_k : Tensor of shape (n_rows, n_classes)
        Log similarities to the prototypes, and the log odds of the classes where these count.
    codes : ndarray of int of shape (n_rows,)
    weight : ndarray of shape (n_rows,) or None

    Returns
    -------
    float
    """
    share, counted = _shares(codes, weight)
    log_k, at = log_k.double()[counted], torch.as_tensor(codes[counted])[:, None]
    weight = torch.as_tensor(share)

    def cost(log_t):
        log_q = torch.log_softmax(log_k * math.exp(-log_t), 1).gather(1, at)[:, 0]
        return -float(log_q @ weight)

    return math.exp(minimize_scalar(cost, bounds=(-LOG_RANGE, LOG_RANGE), method="bounded").x)


def _shares(codes, weight):
    """Shares of the rows that weigh anything, and which these are; all alike where none does.

    A class that weighs nothing has no odds, and the logarithm of its probability times nothing is not a number.
    """
    weight = np.ones(len(codes)) if weight is None or not weight.any() else weight
    counted = np.flatnonzero(weight)
    return weight[counted] / weight.sum(), counted
