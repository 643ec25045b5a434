"""The block of code in which fits go over several processes, and what it does where one of them fails."""

from __future__ import annotations

import os
import threading
import time
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from datetime import timedelta

import torch
from torch import distributed

from .._checks import check_number
from ._group import ALONE, Alone, Group

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
    watch = Watch(distributed.get_rank(), distributed.get_world_size(), number[0], timeout)
    token = _CURRENT.set(Group(group, watch))
    try:
        with watch.task():
            yield _CURRENT.get()
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
    """Signs of life and errors of all ranks, in the store through which they have met.

    A rank that has come to its end does not give signs any more; one that hangs does, and has taken part in fewer
    exchanges than the others.  One that has raised an error has left it in the store, where those look that wait.

    Parameters
    ----------
    rank, size : int
    number : int
        Of this group, the same on all ranks.
    timeout : float
        Seconds that a rank waits for others.
    """

    def __init__(self, rank, size, number, timeout):
        self.rank, self.size, self.number, self.what = rank, size, 0, "the start"
        self.timeout = timeout
        # Errors that all ranks have met alike, and whether this one has met another one.
        self.n_common, self.failed = 0, False
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
    def task(self):
        """An error that leaves the body is left in the store."""
        try:
            yield
        except BaseException as error:
            if not self.failed:
                self.accuse(f"rank {self.rank} ended with {type(error).__name__}: {error}", self.number)
                self._say_where(self.number)
                self.failed = True
            raise

    @contextmanager
    def exchange(self, what):
        """The body exchanges; an error names the rank to blame.

        Raises
        ------
        RuntimeError
        """
        if self.failed:
            self._go_on_together()
        self.number, self.what = self.number + 1, what
        try:
            yield
        except RuntimeError as error:
            raise RuntimeError(self._sentence(error)) from error

    def wait(self, work, group):
        """Wait for the end of an operation on tensors in the CPU's memory, or for an error of another rank.

        Raises
        ------
        RuntimeError
        """
        while not work.is_completed():
            try:
                work.wait(timedelta(seconds=BEAT))
            except RuntimeError:  # of the operation itself, or since it is not at its end
                number, sentence = self._blame()
                if sentence and number < self.number and not work.is_completed():
                    # A group with an operation under way waits, when it is deleted, for that to end, as it does
                    # when the rank to blame closes its connections.
                    threading.Thread(target=_outlast, args=(work, group)).start()
                    raise
        work.wait()

    def _say_where(self, number):
        """Let the others know after how many exchanges this rank has met an error."""
        with suppress(Exception):  # the process that has the store may be gone
            self.store.set(self._place(self.rank), str(number))

    def _place(self, rank):
        return f"error {self.n_common} {rank}"

    def _go_on_together(self):
        """After an error go on if all ranks have met one between the same two exchanges."""
        end = time.monotonic() + self.timeout
        while not all(found := [self._read(self._place(rank)) for rank in range(self.size)]):
            if time.monotonic() > end or self._over.wait(BEAT / 10):
                break
        if set(found) != {str(self.number)}:
            blame = self.accused() or "a rank has ended"
            raise RuntimeError(
                f"{blame}; leave the block of shards() after an error that not all ranks have met"
            )
        self.n_common, self.failed = self.n_common + 1, False

    def accuse(self, sentence, number=-1):
        """Say what is to blame, unless another rank has said it; what was said first is returned.

        Parameters
        ----------
        sentence : str
        number : int
            Of the last exchange that does not depend on the one who is to blame.
        """
        try:
            said = self.store.compare_set(f"blame {self.n_common}", "", f"{number} {sentence}").decode()
        except Exception:
            return sentence
        return said.partition(" ")[2]

    def accused(self):
        """What is to blame, as far as any rank has said; else an empty string."""
        return self._blame()[1]

    def _blame(self):
        number, _, sentence = self._read(f"blame {self.n_common}").partition(" ")
        return int(number or 0), sentence

    def _read(self, key):
        return self.store.compare_set(key, "", "").decode()

    def _sentence(self, error):
        """Which rank is to blame for an exchange that failed."""
        try:
            before = now = self._signs()
            for _ in range(PATIENCE):
                if self.accused():
                    return self.accused()
                self._over.wait(BEAT)
                now = self._signs()
                if not self._silent(before, now):
                    break
            if self.accused():
                return self.accused()
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
        if not self.failed:
            self._say_where("none")
        self._over.set()


def _outlast(work, group):
    """Hold a group until an operation of it has ended."""
    with suppress(RuntimeError):
        work.wait()
