"""Monitoring of a fit: progress messages, callbacks of this library and those of scikit-learn.

scikit-learn has its own callbacks from 1.9 on, which ``set_callbacks`` sets and searches hand down.  For them a fit is
a task; each optimisation in it is a task of its own, and each of that one's records a step.  A callback that answers
True to the end of a step stops the optimisation.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable
from contextlib import contextmanager, suppress
from typing import TypeVar

try:
    from sklearn.callback import CallbackSupportMixin
    from sklearn.callback import with_callbacks as _with_callbacks
except ImportError:  # scikit-learn before 1.9

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Nothing to support."""

    def _with_callbacks(method):
        return method


with suppress(ImportError):  # not on every system
    import resource

Method = TypeVar("Method", bound=Callable)

LOGGER = logging.getLogger("iconlearn")
# Iterations after which the rest of an optimisation is estimated for the first time.
FIRST = 5


def with_callbacks(fit: Method) -> Method:
    """scikit-learn's decorator of ``fit``, of the type of what it decorates; before 1.9 the method as it is."""
    return _with_callbacks(fit)


def shows(verbose, level=logging.INFO):
    """Whether a message of this level is wanted: INFO with ``verbose=1``, DEBUG with 2, or as the logger is set up."""
    return LOGGER.isEnabledFor(level) if _is_set_up() else verbose > (level < logging.INFO)


def report(name, text, level=logging.INFO):
    """Hand a message to the logger where that is set up, else print it."""
    if _is_set_up():
        LOGGER.log(level, "[%s] %s", name, text)
    else:
        print(f"[{name}] {text}", flush=True)


def _is_set_up():
    """Whether the user has given the logger a level or a handler; without one Python drops what is no warning."""
    return LOGGER.level != logging.NOTSET or bool(LOGGER.handlers)


@contextmanager
def timed(estimator, stage, expected=None):
    """Note in ``timings_`` how long a stage of a fit takes, and report it.

    Parameters
    ----------
    estimator : estimator
    stage : str
    expected : float or None, default=None
        Seconds that it is expected to take, which are reported before it begins; None where that is unknown.
    """
    name = type(estimator).__name__
    if expected is not None and shows(estimator.verbose):
        about = "less than a second" if expected < 1 else f"about {expected:.0f} s"
        report(name, f"{stage}: {about} expected")
    begun = time.perf_counter()
    yield
    seconds = time.perf_counter() - begun
    estimator.timings_[stage] = estimator.timings_.get(stage, 0.0) + seconds
    if shows(estimator.verbose):
        report(name, f"{stage}: {seconds:.1f} s{_peak()}")


def _peak():
    """Most memory that the process has held so far, in words."""
    if "resource" not in globals():
        return ""
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return f", peak memory {peak / 2**30:.2f} GiB"


class Progress:
    """Reports stages and iterations: to the logger "iconlearn" where that is set up, else on the standard output.

    Parameters
    ----------
    name : str
        Whose progress it is.
    verbose : int
        Without a logger 0 is silent; 1 prints stages and eleven lines per optimisation; 2 prints every iteration.
    n_iter : int
        Most iterations that are expected.
    """

    def __init__(self, name, verbose, n_iter):
        self.name, self.verbose, self.n_iter = name, int(verbose), n_iter
        self.begun = time.perf_counter()

    @property
    def shown(self):
        """Whether there is anything to report of iterations."""
        return shows(self.verbose)

    def stage(self, text, level=logging.INFO):
        if shows(self.verbose, level):
            report(self.name, text, level)

    def __call__(self, record):
        every = max(1, self.n_iter // 10)
        level = logging.INFO if record.iteration % every == 0 or record.iteration == FIRST else logging.DEBUG
        if shows(self.verbose, level):
            left = record.seconds / record.iteration * max(self.n_iter - record.iteration, 0)
            self.stage(
                f"{record.phase} {record.iteration}/{self.n_iter}: loss {record.loss:.6g}, "
                f"{record.seconds:.1f} s, at most {left:.1f} s left",
                level,
            )

    def done(self, solution):
        if not shows(self.verbose):
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
