"""Progress for people: what a fit is doing, how far it is, and how long the rest may take."""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager, suppress

with suppress(ImportError):  # not on every system
    import resource

__all__ = ["Progress", "timed"]

# Iterations after which the rest of an optimisation is told for the first time.
FIRST = 5


@contextmanager
def timed(estimator, stage, expected=None):
    """Note in ``timings_`` how long a stage of a fit takes, and say so with ``verbose``.

    Parameters
    ----------
    estimator : estimator
    stage : str
    expected : float or None, default=None
        Seconds that it is expected to take, which are told before it begins; None where nobody knows.
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
