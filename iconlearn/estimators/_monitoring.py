"""Whoever watches a fit: people who read its progress, callbacks of ours and those of scikit-learn.

scikit-learn has its own callbacks from 1.9 on, which ``set_callbacks`` sets and searches hand down.  For them a fit is
a task; each optimisation in it is a task of its own, and each of that one's records a step.  A callback that answers
True to the end of a step stops the optimisation.
"""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager, suppress

try:
    from sklearn.callback import CallbackSupportMixin, with_callbacks
except ImportError:  # scikit-learn before 1.9

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Nothing to support."""

    def with_callbacks(method):
        """The method as it is."""
        return method


from sklearn.exceptions import ConvergenceWarning

from .._warnings import warn
from ..optim import asks_to_stop

with suppress(ImportError):  # not on every system
    import resource

__all__ = [
    "CallbackSupportMixin",
    "Progress",
    "Watchers",
    "callbacks",
    "checkpoint_of",
    "observed",
    "optimisation_observed",
    "timed",
    "with_callbacks",
]

# Iterations after which the rest of an optimisation is estimated for the first time.
FIRST = 5
# A callback that ends a fit within so many iterations may have answered True without meaning it.
HARDLY_BEGUN = 10


@contextmanager
def timed(estimator, stage, expected=None):
    """Note in ``timings_`` how long a stage of a fit takes, and say so with ``verbose``.

    Parameters
    ----------
    estimator : estimator
    stage : str
    expected : float or None, default=None
        Seconds that it is expected to take, which are printed before it begins; None where that is unknown.
    """
    if estimator.verbose and expected is not None:
        about = "less than a second" if expected < 1 else f"about {expected:.0f} s"
        print(f"[{type(estimator).__name__}] {stage}: {about} expected", flush=True)
    begun = time.perf_counter()
    yield
    seconds = time.perf_counter() - begun
    estimator.timings_[stage] = estimator.timings_.get(stage, 0.0) + seconds
    if estimator.verbose:
        print(f"[{type(estimator).__name__}] {stage}: {seconds:.1f} s{_peak()}", flush=True)


def _peak():
    """Most memory that the process has held so far, in words."""
    if "resource" not in globals():
        return ""
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return f", peak memory {peak / 2**30:.2f} GiB"


class Progress:
    """Prints stages and iterations when asked to.

    Parameters
    ----------
    name : str
        Whose progress it is.
    verbose : int
        0 is silent; 1 prints stages and eleven lines per optimisation; 2 prints every iteration.
    n_iter : int
        Most iterations that are expected.
    """

    def __init__(self, name, verbose, n_iter):
        self.name, self.verbose, self.n_iter = name, int(verbose), n_iter
        self.begun = time.perf_counter()

    def stage(self, text):
        if self.verbose:
            print(f"[{self.name}] {text}", flush=True)

    def __call__(self, record):
        every = 1 if self.verbose > 1 else max(1, self.n_iter // 10)
        if self.verbose and (record.iteration % every == 0 or record.iteration == FIRST):
            left = record.seconds / record.iteration * max(self.n_iter - record.iteration, 0)
            self.stage(
                f"{record.phase} {record.iteration}/{self.n_iter}: loss {record.loss:.6g}, "
                f"{record.seconds:.1f} s, at most {left:.1f} s left"
            )

    def done(self, solution):
        if not self.verbose:
            return
        seconds = time.perf_counter() - self.begun
        loss = solution.loss + (solution.constant() if solution.constant is not None else 0.0)
        self.stage(
            f"ended ({solution.reason}) after {solution.n_iter} iterations and {seconds:.1f} s: loss {loss:.6g}"
        )


def callbacks(callback):
    """All callbacks of an estimator's parameter: None, one, or a list of them."""
    if callback is None:
        return []
    return list(callback) if isinstance(callback, list | tuple) else [callback]


class Watchers:
    """All who are shown the records of an optimisation, as one callback; any of them may end it.

    Parameters
    ----------
    given : list of callable
        Those of the user.
    own : list of callable
        Others.

    Attributes
    ----------
    stopper : callable or None
        That one of the user's whose answer ended the optimisation.
    """

    def __init__(self, given, own=()):
        self.given, self.own, self.stopper, self.last = given, own, None, None

    def callback(self):
        """What an optimisation calls; None where nobody watches, so that no records are made."""
        return self if self.given or self.own else None

    def __call__(self, record):
        self.last = record
        stoppers = [watcher for watcher in self.given if asks_to_stop(watcher(record))]
        if stoppers:
            self.stopper = stoppers[0]
        return any([asks_to_stop(watcher(record)) for watcher in self.own]) or bool(stoppers)

    def warn_if_hardly_begun(self, n_iter):
        """Say so where a callback ended an optimisation of at most `n_iter` iterations before it led anywhere."""
        if self.stopper is None or self.last.iteration >= n_iter:
            return
        if self.last.iteration > HARDLY_BEGUN and self.last.phase != "early":
            return
        where = " (the attraction is still exaggerated)" if self.last.phase == "early" else ""
        warn(
            f"callback {getattr(self.stopper, '__name__', self.stopper)!r} returned True after iteration "
            f"{self.last.iteration} of at most {n_iter}{where}, which stops the fit: the answer is little more than "
            f"its start. If that is not wanted, return None; the update method of tqdm returns True whenever it has "
            f"redrawn its bar",
            ConvergenceWarning,
        )


def checkpoint_of(estimator, X, y, weight):
    """What one of the estimator's callbacks saves the stages of this fit with; None where none does."""
    for callback in callbacks(estimator.callback):
        if hasattr(callback, "keeper"):
            return callback.keeper(estimator, X, y, weight)
    return None


@contextmanager
def observed(estimator, X, y):
    """Call scikit-learn's callbacks when a fit begins and, unless it fails, when it ends."""
    if not getattr(estimator, "_skl_callbacks", None):
        yield
        return
    # How many optimisations there will be depends on p.
    fit = estimator._init_callback_context(max_subtasks=None)
    fit.call_on_fit_task_begin(estimator=estimator, X=X, y=y)
    yield
    fit.call_on_fit_task_end(estimator=estimator, X=X, y=y)


@contextmanager
def optimisation_observed(estimator, n_iter):
    """Give a callback that passes records of at most `n_iter` iterations on to scikit-learn's, or None."""
    fit = getattr(estimator, "_callback_fit_ctx", None)
    if fit is None:
        yield None
        return
    whole = fit.subcontext(task_name="optimisation", max_subtasks=n_iter)
    whole.call_on_fit_task_begin(estimator=estimator)

    def step_done(record):
        step = whole.subcontext(task_name=record.phase)
        step.call_on_fit_task_begin(estimator=estimator)
        return step.call_on_fit_task_end(estimator=estimator)

    yield step_done
    whole.call_on_fit_task_end(estimator=estimator)
