"""Stretches of steps on a device, between two looks of the host at it.

A look at a number that a device has found waits for all that the device still has to do, and it has nothing to do
until the host has gone on: with a look at every loss, a step takes as long as the host needs for its launches.  In a
stretch the losses and the best state stay on the device; the host reads them at its end, and then does for each
iteration what it would have done before.

Steps of a stretch are the same operations on the same tensors, so CUDA can record one as a graph and repeat it at one
launch.
"""

from __future__ import annotations

import math

import torch

from .._kernels import either

# Most steps between two looks; the first stretch has two.
LONGEST = 25
# Fewest repetitions that a step is recorded for; to record it takes about as long as to take it.
LEAST_REPETITIONS = 6
# Recordings that are kept; each holds the memory of a step.
MOST_RECORDINGS = 3
# After the second step of stretches has failed k times, with no success since, 2^k steps are looked at; k is at most
# this.
MOST_BACKOFF = 6
# By which stretches become longer and shorter.
LENGTHS = ("longest", "growth", "one_by_one", "failures")


class Stretches:
    """Takes stretches of the steps of a run.

    What the engine holds on to in a stretch may not serve to its end: a row leaves the grid, say.  Losses are then
    not finite, the state after the first step is put back, and a stretch of as many steps as were good goes on from
    there.  Stretches become twice as long until the first failure, and longer by a quarter afterwards.

    Parameters
    ----------
    run : _Run
        The minimisation.
    hold : callable
        Gives the context of a stretch, as :meth:`iconlearn.engines._base.Engine.hold` does.
    record : bool
        Whether steps on CUDA are recorded.
    """

    def __init__(self, run, hold, record):
        self.run, self.hold, self.record = run, hold, record
        self.longest, self.growth, self.one_by_one, self.failures = 2, 2.0, 0, 0
        self.best, self.recordings = None, {}

    def state(self):
        """What the lengths of the next stretches depend on."""
        return {name: getattr(self, name) for name in LENGTHS}

    def resume(self, state):
        """Go on from a state; None is that of the start."""
        vars(self).update(state or {})

    def length(self, most):
        """How many of at most so many steps are taken next."""
        if self.one_by_one:
            self.one_by_one -= 1
            return 1
        return min(most, self.longest)

    def take(self, epochs, phase, method, after_step, n):
        """Take `n` steps of a phase, or the first of them.

        Returns
        -------
        list of (float, list of float)
            The loss of each step that was taken, and its terms.
        """
        run = self.run
        best = self.best = self.best or _Best(run.tensors())
        best.begin(run.kept, run.history.best)

        def step(closure):
            evaluation = _Deferred(best, closure)
            method.step(evaluation)
            if after_step is not None:
                after_step()
            return evaluation.losses

        taken, before, interrupt = [], None, None
        try:
            with self.hold() as held:
                taken.append(step(_only(epochs(phase))))
                if held.able and n > 1:
                    before = _Before(run, method, best)
                    recording = self._recording(held, method, n)
                    while len(taken) < n:
                        closure = _only(epochs(phase))
                        if recording is not None and recording.known and not recording.made:
                            recording.make(step, closure, _Before(run, method, best))
                        repeats = recording is not None and recording.made
                        taken.append(recording.repeat() if repeats else step(closure))
                        if recording is not None:
                            recording.known = True
        except KeyboardInterrupt as error:
            if not taken:
                raise
            interrupt = error
        values, lowest = _read(taken, best)
        if before is not None and not all(math.isfinite(loss) for loss, *_ in values):
            before.put_back()
            self.growth = 1.25
            self.longest = next(k for k, (loss, *_) in enumerate(values) if not math.isfinite(loss))
            if self.longest == 1:
                self.failures = min(self.failures + 1, MOST_BACKOFF)
                self.longest, self.one_by_one = 2, 2**self.failures
            values, lowest = values[:1], min(run.history.best, values[0][0])
        elif before is not None:
            self.longest, self.failures = min(math.ceil(self.growth * self.longest), LONGEST), 0
        if lowest < run.history.best:
            run.history.best = run.loss = lowest
            run.kept = best.values
        run.running = values[-1][0]
        values = [(loss, terms) for loss, *terms in values]
        if interrupt is not None:
            run.add_all(values, phase)
            raise interrupt
        return values

    def _recording(self, held, method, n):
        """The recording of a step of this stretch, or None where none is worth its while or possible."""
        if not self.record or held.key is None or self.best.loss.device.type != "cuda":
            return None
        if not any(recording.method is method for recording in self.recordings.values()):
            self.recordings.clear()
        if held.key not in self.recordings:
            if n - 1 < LEAST_REPETITIONS:
                return None
            while len(self.recordings) >= MOST_RECORDINGS:
                self.recordings.pop(next(iter(self.recordings)))
            self.recordings[held.key] = _Recording(method, held)
        return self.recordings[held.key]


class _Recording:
    """A step as a CUDA graph.

    Attributes
    ----------
    made : bool
        Whether there is one.
    known : bool
        Whether such a step has been taken before: what is compiled or compared at its first use cannot be recorded.
    """

    def __init__(self, method, held):
        # The graph reads and writes their tensors.
        self.method, self.held = method, held
        self.graph, self.losses, self.made, self.failed, self.known = None, None, False, False, False

    def make(self, step, closure, before):
        """Record a step; the state is the one before it afterwards."""
        if self.failed:
            return
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph):
                self.losses = step(closure)
            self.graph, self.made = graph, True
        except RuntimeError:
            # A kernel or a divergence of the user's that waits, say; steps are taken as before then.
            self.failed = True
        before.put_back()

    def repeat(self):
        """Take the step once more; returns the loss and its terms."""
        self.graph.replay()
        return self.losses.clone()


def _only(closures):
    (closure,) = closures
    return closure


def _read(taken, best):
    """The losses of some steps with their terms, and the best loss, at one wait."""
    *numbers, lowest = torch.cat([*taken, best.loss.reshape(1)]).tolist()
    width = len(taken[0])
    return [numbers[at : at + width] for at in range(0, len(numbers), width)], lowest


class _Best:
    """The best state so far and its loss, on the device, in tensors that stay where they are."""

    def __init__(self, tensors):
        self.tensors, self.values = tensors, copies(tensors)
        self.known, self.loss = None, None

    def begin(self, kept, loss):
        """Take up the state that is kept, which may be none, and its loss."""
        if kept is not None and kept is not self.values:
            put_back(self.values, kept)
        self.known = loss
        if self.loss is not None:
            self.loss.fill_(loss)

    @torch.no_grad()
    def note(self, loss):
        if self.loss is None:
            self.loss = torch.full_like(loss, self.known)
        state = loss, self.loss, *self.values, *self.tensors
        either("the best state", state, _kept_by_kernel, _kept)
        torch.fmin(self.loss, loss, out=self.loss)


def _kept(loss, best, *tensors):
    """The first half of the tensors, over which the second half is written where the loss is below the best."""
    values, better = tensors[: len(tensors) // 2], loss < best
    for value, tensor in zip(values, tensors[len(values) :], strict=True):
        torch.where(better, tensor, value, out=value)
    return values


def _kept_by_kernel(loss, best, *tensors):
    from ..numerics.fused import keep_better

    values = tensors[: len(tensors) // 2]
    for value, tensor in zip(values, tensors[len(values) :], strict=True):
        keep_better(value, tensor, loss, best)
    return values


class _Deferred:
    """A closure whose loss stays where it is."""

    def __init__(self, best, closure):
        self.best, self.closure, self.losses = best, closure, None

    def __call__(self):
        self.losses = self.closure().detach().reshape(-1)
        self.best.note(self.losses[0])
        return self.losses[0]


class _Before:
    """All that steps change, as it is when a stretch begins."""

    def __init__(self, run, method, best):
        of_method = [tensor for tensors in method.state_dict().values() for tensor in tensors]
        self.tensors = [*run.tensors(), *of_method, *best.values, best.loss]
        self.values = copies(self.tensors)

    def put_back(self):
        put_back(self.tensors, self.values)


def copies(tensors):
    """Copies of tensors as they are now."""
    return [t.detach().clone() for t in tensors]


@torch.no_grad()
def put_back(tensors, values):
    """Give tensors the values that :func:`copies` took of them."""
    for tensor, value in zip(tensors, values, strict=True):
        tensor.copy_(value)
