"""scikit-learn's own callbacks (1.9 and newer), which ``set_callbacks`` sets and searches hand down.

A fit is a task; each optimisation in it is a task of its own, and each of that one's records a step.  A callback
that answers true to the end of a step stops the optimisation.
"""

from __future__ import annotations

from contextlib import contextmanager

try:
    from sklearn.callback import CallbackSupportMixin, with_callbacks
except ImportError:  # scikit-learn before 1.9

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Nothing to support."""

    def with_callbacks(method):
        """The method as it is."""
        return method


__all__ = ["CallbackSupportMixin", "observed", "optimisation_observed", "with_callbacks"]


@contextmanager
def observed(estimator, X, y):
    """Tell scikit-learn's callbacks that a fit begins and, unless it fails, that it ends."""
    if not getattr(estimator, "_skl_callbacks", None):
        yield
        return
    # How many optimisations there will be is not known before p is.
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

    def told(record):
        step = whole.subcontext(task_name=record.phase)
        step.call_on_fit_task_begin(estimator=estimator)
        return step.call_on_fit_task_end(estimator=estimator)

    yield told
    whole.call_on_fit_task_end(estimator=estimator)
