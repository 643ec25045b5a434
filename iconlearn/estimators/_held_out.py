"""Held-out rows: when to stop, which state to keep, and how sure the answers should be.

    score = mean log q(y_i | x_i),        temperature = arg max_t mean log softmax(log k / t)_{y_i}

Guo et al., "On calibration of modern neural networks", ICML 2017.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from sklearn.model_selection import train_test_split

from ..classification._prototypes import class_means, log_similarities
from ..optim import copies, put_back
from ._inputs import dense_tensor

__all__ = ["EarlyStopping", "Judge", "best_temperature", "hold_out"]

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


class Judge:
    """Mean log probability of the classes of held-out rows, as a plan's parameters are at the time.

    Parameters
    ----------
    plan : Plan
    X : array or sparse matrix of shape (n_held, n_features)
    codes : ndarray of int of shape (n_held,)
    learn_codes : ndarray of int of shape (n_rows,)
        Classes of the rows that are learned from.
    held_weight : ndarray of shape (n_held,) or None
    weight : ndarray of shape (n_rows,) or None
        Of the rows that are learned from, whose class means are the prototypes of a p over pairs.
    """

    def __init__(self, plan, X, codes, learn_codes, held_weight, weight):
        self.plan, self.weight, self.learn_codes = plan, weight, learn_codes
        X = X if plan.features is None else X[:, plan.features]
        self.inputs = dense_tensor(X).to(device=plan.device, dtype=plan.dtype)
        self.codes = torch.as_tensor(codes, device=plan.device)
        share = np.ones(len(codes)) if held_weight is None or not held_weight.any() else held_weight
        self.share = torch.as_tensor(share / share.sum(), device=plan.device)

    @torch.no_grad()
    def __call__(self):
        problem, mapper = self.plan.problem, self.plan.mapper
        was_training = mapper.training
        mapper.eval()
        log_k = log_similarities(problem.q, mapper(self.inputs), self._columns(problem))
        mapper.train(was_training)
        log_q = torch.log_softmax(log_k.double(), 1).gather(1, self.codes[:, None])[:, 0]
        return float((log_q * self.share).sum())

    def _columns(self, problem):
        if not problem.tied:
            return problem.columns.at()
        Z = problem.q.represent(problem.rows.at())
        return class_means(Z, self.learn_codes, self.weight, int(self.learn_codes.max()) + 1)


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
        Log similarities to the prototypes.
    codes : ndarray of int of shape (n_rows,)
    weight : ndarray of shape (n_rows,) or None

    Returns
    -------
    float
    """
    log_k, at = log_k.double(), torch.as_tensor(codes)[:, None]
    weight = torch.ones(len(codes)) if weight is None else torch.as_tensor(weight)

    def cost(log_t):
        log_q = torch.log_softmax(log_k * math.exp(-log_t), 1).gather(1, at)[:, 0]
        return -float(log_q @ weight.double())

    return math.exp(minimize_scalar(cost, bounds=(-LOG_RANGE, LOG_RANGE), method="bounded").x)
