"""What processes exchange during a fit: a handful of collectives, and their stand-in for one process alone."""

from __future__ import annotations

import pickle
from collections import Counter
from contextlib import contextmanager

import numpy as np
import torch
from torch import distributed


class Alone:
    """One process with all rows.

    Attributes
    ----------
    rank : int
        Number of this process.
    size : int
        Number of processes.
    traffic : Counter
        Bytes that this process has sent, by operation.
    """

    rank = 0
    size = 1

    def __init__(self):
        self.traffic = Counter()

    def total(self, values):
        """Sum over all ranks.

        Parameters
        ----------
        values : Tensor, ndarray or number
            Of one shape on all ranks.

        Returns
        -------
        Tensor, ndarray or number
            Of the same kind, without gradients.
        """
        return values

    def largest(self, values):
        """Largest of all ranks, as :meth:`total`."""
        return values

    def smallest(self, values):
        """Smallest of all ranks, as :meth:`total`."""
        return values

    def add_up(self, tensors):
        """Put the sums over all ranks into tensors of one type, all of them by one exchange.

        Parameters
        ----------
        tensors : list of Tensor
            Of equal shapes on all ranks.
        """

    def joined(self, rows, counts):
        """As :meth:`gathered`, where all ranks know the numbers of rows and go on alike with what they get.

        Parameters
        ----------
        rows : Tensor of shape (counts[rank], ...)
        counts : sequence of int
            Rows of each rank.

        Returns
        -------
        Tensor of shape (sum of counts, ...)
            A gradient is taken to be the same on all ranks, so that the sum over these is found without an exchange.
        """
        return rows

    def gathered(self, rows):
        """Rows of all ranks, one rank after the other; they need not be equally many.

        Parameters
        ----------
        rows : Tensor or ndarray of shape (n_of_rank, ...)

        Returns
        -------
        Tensor or ndarray of shape (n_of_all, ...)
            Gradients of a tensor run back to the rank that each row came from, as sums over all ranks.
        """
        return rows

    def exchanged(self, parts):
        """Give each rank its part and receive one from each.

        Parameters
        ----------
        parts : list of Tensor or of ndarray
            One for each rank, of any number of rows; equal in their types and further axes.

        Returns
        -------
        list
            What this rank got from each; gradients of tensors run back.
        """
        return list(parts)

    def objects(self, value):
        """What all ranks have, as a list of picklable values."""
        return [value]

    def from_first(self, value):
        """The value, a tensor or anything that can be pickled, that the first rank has."""
        return value

    @contextmanager
    def together(self):
        """Let an error that one rank meets in the body be raised on all ranks, with its rank named.

        The body holds no exchange, which other ranks would wait in.
        """
        yield

    @contextmanager
    def task(self):
        """The body is done by all ranks; an error that one of them meets ends the exchanges that others wait in.

        Where all ranks meet an error between the same two exchanges, and catch it, they may go on together.
        """
        yield

    def starts(self, n_rows):
        """How many rows the ranks before this one have, each of which gives its number of rows."""
        return 0


ALONE = Alone()


class Group:
    """The processes of a group of torch.distributed.

    Parameters
    ----------
    group : torch.distributed.ProcessGroup
    watch : Watch
        Knows which rank is to blame for an exchange that failed.
    """

    def __init__(self, group, watch):
        self.group, self.watch = group, watch
        self.rank, self.size = distributed.get_rank(group), distributed.get_world_size(group)
        self.traffic = Counter()

    # -- sums and extremes ---------------------------------------------------------------------------

    def total(self, values):
        return self._reduced(values, "total", distributed.ReduceOp.SUM)

    def largest(self, values):
        return self._reduced(values, "largest", distributed.ReduceOp.MAX)

    def smallest(self, values):
        return self._reduced(values, "smallest", distributed.ReduceOp.MIN)

    def _reduced(self, values, what, op):
        if isinstance(values, torch.Tensor):
            found = values.detach().clone(memory_format=torch.contiguous_format)
            self._all_reduce(found, what, op)
            return found
        array = np.asarray(values)
        if array.dtype == bool:
            return self._reduced(array.astype(np.int64), what, op)
        found = torch.from_numpy(np.array(array, ndmin=1))
        self._all_reduce(found, what, op)
        found = found.numpy().reshape(array.shape)
        return found if isinstance(values, np.ndarray) else found.item()

    def _all_reduce(self, tensor, what, op):
        self.traffic[what] += tensor.numel() * tensor.element_size()
        with self.watch.exchange(what):
            self._done(distributed.all_reduce(tensor, op, group=self.group, async_op=True), tensor)

    def _done(self, work, tensor):
        if tensor.device.type == "cpu":
            self.watch.wait(work, self.group)
        else:
            work.wait()  # a GPU computes on meanwhile, and the host does not wait

    @torch.no_grad()
    def add_up(self, tensors):
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        self._all_reduce(flat, "add_up", distributed.ReduceOp.SUM)
        for tensor, part in zip(tensors, flat.split([t.numel() for t in tensors]), strict=True):
            tensor.copy_(part.view_as(tensor))

    # -- rows ----------------------------------------------------------------------------------------

    def joined(self, rows, counts):
        return _Joined.apply(rows, self, tuple(counts))

    def _joined(self, rows, counts):
        most = max(counts)
        padded = rows.new_zeros((most, *rows.shape[1:]))
        padded[: len(rows)] = rows.detach()
        parts = [torch.empty_like(padded) for _ in range(self.size)]
        self.traffic["joined"] += padded.numel() * padded.element_size()
        with self.watch.exchange("joined"):
            self._done(distributed.all_gather(parts, padded, group=self.group, async_op=True), padded)
        return torch.cat([part[:n] for part, n in zip(parts, counts, strict=True)])

    def gathered(self, rows):
        if not isinstance(rows, torch.Tensor):
            return self._gathered(_shared(rows)).numpy()
        return _Gathered.apply(rows, self) if rows.requires_grad else self._gathered(rows)

    def _gathered(self, rows):
        return torch.cat(self._exchanged([rows] * self.size, "gathered"))

    def exchanged(self, parts):
        if not isinstance(parts[0], torch.Tensor):
            return [part.numpy() for part in self._exchanged([_shared(part) for part in parts], "exchanged")]
        if any(part.requires_grad for part in parts):
            return list(_Exchanged.apply(self, *parts))
        return self._exchanged(parts, "exchanged")

    def _exchanged(self, parts, what):
        """Parts sent point to point; numbers of rows first."""
        like = parts[self.rank]
        counts = torch.tensor([len(part) for part in parts], device=like.device)
        table = [torch.empty_like(counts) for _ in range(self.size)]
        with self.watch.exchange(what):
            self._done(distributed.all_gather(table, counts, group=self.group, async_op=True), counts)
        due = torch.stack(table)[:, self.rank].tolist()
        received = [like.new_empty((n, *like.shape[1:])) for n in due]
        received[self.rank] = like.detach().clone()
        ours = [part.detach().contiguous() for part in parts]
        jobs = []
        with self.watch.exchange(what):
            # Partners in turn, so that no rank is asked by all others at once.
            for step in range(1, self.size):
                to, source = (self.rank + step) % self.size, (self.rank - step) % self.size
                if ours[to].numel():
                    self.traffic[what] += ours[to].numel() * ours[to].element_size()
                    jobs.append(distributed.isend(ours[to], self._global(to), group=self.group))
                if received[source].numel():
                    jobs.append(distributed.irecv(received[source], self._global(source), group=self.group))
            for job in jobs:
                job.wait()
        return received

    def _global(self, rank):
        return distributed.get_global_rank(self.group, rank)

    # -- values of any kind ----------------------------------------------------------------------------

    def objects(self, value):
        return [_unpickled(part) for part in self._exchanged([_pickled(value)] * self.size, "objects")]

    def from_first(self, value):
        if isinstance(value, torch.Tensor):
            return self._broadcast(value.detach().clone(memory_format=torch.contiguous_format))
        held = _pickled(value) if self.rank == 0 else torch.empty(0, dtype=torch.uint8)
        length = self._broadcast(torch.tensor(len(held)))
        held = self._broadcast(held if self.rank == 0 else held.new_empty(int(length)))
        return value if self.rank == 0 else _unpickled(held)

    def _broadcast(self, tensor):
        with self.watch.exchange("from_first"):
            self._done(
                distributed.broadcast(tensor, self._global(0), group=self.group, async_op=True), tensor
            )
        return tensor

    @contextmanager
    def together(self):
        error = None
        try:
            yield
        except Exception as found:
            error = found
        said = self.objects(None if error is None else (type(error).__name__, str(error)))
        for rank, sentence in enumerate(said):
            if sentence is not None:
                kind = {"TypeError": TypeError, "ValueError": ValueError}.get(sentence[0], RuntimeError)
                raise kind(f"rank {rank}: {sentence[1]}") from error

    def task(self):
        return self.watch.task()

    def starts(self, n_rows):
        return sum(self.objects(int(n_rows))[: self.rank])


def _shared(array):
    """A tensor over the memory of an array, unless that cannot be written or lies in another order."""
    return torch.from_numpy(np.require(array, requirements=["C", "W"]))


def _pickled(value):
    return torch.frombuffer(bytearray(pickle.dumps(value)), dtype=torch.uint8)


def _unpickled(held):
    return pickle.loads(held.numpy().tobytes())


class _Gathered(torch.autograd.Function):
    """Rows of all ranks; the gradient of a row is summed over all ranks and runs back to its own."""

    @staticmethod
    def forward(ctx, rows, group):
        counts = group.objects(len(rows))
        ctx.group, ctx.counts = group, counts
        return group._gathered(rows)

    @staticmethod
    def backward(ctx, g):
        parts = ctx.group._exchanged(list(g.split(ctx.counts)), "gathered, slopes")
        return torch.stack(parts).sum(0), None


class _Joined(torch.autograd.Function):
    """Rows of all ranks, which all of them go on with alike: a rank's own part of the gradient, as often as it is."""

    @staticmethod
    def forward(ctx, rows, group, counts):
        ctx.size, ctx.own = group.size, slice(sum(counts[: group.rank]), sum(counts[: group.rank + 1]))
        return group._joined(rows, counts)

    @staticmethod
    def backward(ctx, g):
        return g[ctx.own] * ctx.size, None, None


class _Exchanged(torch.autograd.Function):
    """Parts of all ranks; gradients travel the same way back."""

    @staticmethod
    def forward(ctx, group, *parts):
        ctx.group = group
        return tuple(group._exchanged(parts, "exchanged"))

    @staticmethod
    def backward(ctx, *slopes):
        return (None, *ctx.group._exchanged(slopes, "exchanged, slopes"))
