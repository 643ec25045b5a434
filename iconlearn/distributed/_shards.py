"""The block of code in which fits go over several processes, and what it does where one of them fails."""

from __future__ import annotations

import os
import threading
import time
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import timedelta

import torch
from torch import distributed

from .._checks import check_number
from ._group import ALONE, Alone, Group

__all__ = ["Watch", "alone", "current", "shards"]

# Seconds between two signs of life, and how many may be missing: a machine under load gives them late.
BEAT, PATIENCE = 1.0, 8

_CURRENT: ContextVar = ContextVar("iconlearn_shards", default=None)
_NUMBER = iter(range(2**62))


def current():
    """The processes that a fit goes over now.

    Returns
    -------
    Group or Alone
        Of the innermost :func:`shards`; one process alone where there is none.
    """
    return _CURRENT.get() or ALONE


@contextmanager
def alone():
    """Let the body do what it does in one process, with rows that all processes have."""
    token = _CURRENT.set(None)
    try:
        yield
    finally:
        _CURRENT.reset(token)


@contextmanager
def shards(timeout=300.0):
    """Let fits in the body go over all processes of torch.distributed, each with rows of its own.

    All processes run the same script. Each passes its own rows to ``fit`` and gets its own ``embedding_`` or
    ``labels_``; a mapper that is learned is the same in all. Run alone, the body does what it does without.

    Parameters
    ----------
    timeout : float, default=300.0
        Seconds that a process waits for another one in an exchange, before it raises an error that names it.

    Yields
    ------
    Group or Alone
        With ``rank``, ``size`` and ``traffic``.

    Raises
    ------
    RuntimeError
        In the body, where another process has ended or does not answer.

    Notes
    -----
    The processes are those of ``torch.distributed.init_process_group``, called before, or those of a launcher such as
    ``torchrun``, whose environment variables this function reads; it then ends the process group as well.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from iconlearn import ICONClassifier
    >>> from iconlearn.distributed import shards
    >>> X, y = load_digits(return_X_y=True)
    >>> with shards() as group:
    ...     mine = slice(group.rank, None, group.size)
    ...     model = ICONClassifier(random_state=0).fit(X[mine] / 16, y[mine])
    >>> model.score(X / 16, y) > 0.9
    True
    """
    check_number("timeout", timeout, low=0, closed="neither")
    begun = _begin()
    if not distributed.is_initialized() or distributed.get_world_size() == 1:
        yield Alone()
        return
    group = distributed.new_group(timeout=timedelta(seconds=timeout))
    number = [next(_NUMBER)]  # of the first rank, since others may have been in groups of their own before
    distributed.broadcast_object_list(number, 0, group=group)
    watch = Watch(distributed.get_rank(), distributed.get_world_size(), number[0])
    token = _CURRENT.set(Group(group, watch))
    try:
        yield _CURRENT.get()
    except BaseException as error:
        watch.accuse(f"rank {watch.rank} ended with {type(error).__name__}: {error}")
        raise
    finally:
        _CURRENT.reset(token)
        watch.stop()
        distributed.destroy_process_group(group)
        if begun:
            distributed.destroy_process_group()


def _begin():
    """Join the processes of a launcher, where nobody has; whether that was done."""
    if not distributed.is_available() or distributed.is_initialized() or "WORLD_SIZE" not in os.environ:
        return False
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", 0)) % torch.cuda.device_count())
        distributed.init_process_group("cpu:gloo,cuda:nccl")
    else:
        distributed.init_process_group("gloo")
    return True


class Watch:
    """Signs of life of all ranks, in the store through which they have met.

    A rank that has come to its end does not give signs any more; one that hangs does, and has taken part in fewer
    exchanges than the others.

    Parameters
    ----------
    rank, size : int
    number : int
        Of this group, the same on all ranks.
    """

    def __init__(self, rank, size, number):
        self.rank, self.size, self.number, self.what = rank, size, 0, "the start"
        store = distributed.distributed_c10d._get_default_store()
        self.store = distributed.PrefixStore(f"iconlearn/{number}", store)
        self._over = threading.Event()
        self._give_sign()
        threading.Thread(target=self._give_signs, daemon=True).start()

    def _give_sign(self):
        self.store.set(str(self.rank), f"{time.monotonic()} {self.number} {self.what}")

    def _give_signs(self):
        while not self._over.wait(BEAT):
            try:
                self._give_sign()
            except Exception:  # the process that has the store is gone
                return

    @contextmanager
    def exchange(self, what):
        """The body exchanges; an error names the rank to blame.

        Raises
        ------
        RuntimeError
        """
        self.number, self.what = self.number + 1, what
        try:
            yield
        except RuntimeError as error:
            raise RuntimeError(self._sentence(error)) from error

    def accuse(self, sentence):
        """Say what is to blame, unless another rank has said it; what was said first is returned."""
        try:
            return self.store.compare_set("blame", "", sentence).decode() or sentence
        except Exception:
            return sentence

    def _sentence(self, error):
        """Which rank is to blame for an exchange that failed."""
        try:
            before = now = self._signs()
            for _ in range(PATIENCE):
                self._over.wait(BEAT)
                if self.accused():
                    return self.accused()
                now = self._signs()
                if not self._silent(before, now):
                    break
        except Exception:
            return (
                f"the process through whose store all ranks have met, rank 0 or the launcher, has ended, and with it "
                f"exchange {self.number} ({self.what}) failed: {error}"
            )
        gone = self._silent(before, now)
        if gone:
            return self.accuse(f"rank {gone[0]} has ended, or its machine does not answer any more")
        late = min(self._others, key=lambda rank: int(now[rank].split()[1]))
        done = int(now[late].split()[1])
        if done < self.number:
            return self.accuse(
                f"rank {late} hangs: it has taken part in {done} exchanges and the others wait for it in number "
                f"{self.number} ({self.what}); raise timeout of shards() if its work takes longer"
            )
        return self.accuse(f"exchange {self.number} ({self.what}) failed on rank {self.rank}: {error}")

    def accused(self):
        """What is to blame, as far as any rank has said; else an empty string."""
        return self.store.compare_set("blame", "", "").decode()

    @property
    def _others(self):
        return [rank for rank in range(self.size) if rank != self.rank]

    def _silent(self, before, now):
        """The other ranks that have given no sign in between."""
        return [rank for rank in self._others if now[rank] == before[rank]]

    def _signs(self):
        return [self.store.get(str(rank)).decode() for rank in range(self.size)]

    def stop(self):
        """No further signs."""
        self._over.set()
