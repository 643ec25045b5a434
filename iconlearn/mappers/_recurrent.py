"""Mappers of sequences: what has been seen of one up to a step, in a state.

Recurrent     c_t = GRU( encoder(x_1), ..., encoder(x_t) )
"""

from __future__ import annotations

import copy

from torch import nn

from .._checks import check_choice, check_number, count_steps
from ._base import Mapper, drawn, hidden_widths, layer, n_outputs_of, rectified


class Recurrent(Mapper):
    """A gated recurrent network over the steps of a sequence, each of which one encoder reads.

    It reads whole sequences, of which it gives the last outputs or the mean of all; and both ends of
    :class:`iconlearn.supervisory.Ahead`: sequences up to a moment, of which it gives the outputs there, and single
    steps, of which it gives W_k encoder(x) for a step that comes k later.

    Parameters
    ----------
    step : int
        The numbers of one step; a row holds the steps of a sequence one after the other, at least three.
    hidden : int or None, default=64
        Numbers of the state c_t, of which a linear layer makes the outputs.  None: the state is the outputs.
    encoder : int, tuple of int or torch module, default=(64,)
        Widths of the layers that read a step, each followed by ReLU; or a module that does, which is copied.
    steps : int, default=1
        The most steps ahead that ``Ahead`` may ask for: how many W_k there are.
    pool : {"last", "mean"}, default="last"
        What is given of a whole sequence: the outputs after its last step, or their mean over all steps.

    References
    ----------
    Cho et al., "Learning phrase representations using RNN encoder-decoder for statistical machine translation", EMNLP
    2014; van den Oord, Li and Vinyals, "Representation learning with contrastive predictive coding", 2018.
    """

    def __init__(self, step, hidden=64, encoder=(64,), *, steps=1, pool="last"):
        self.step = step
        self.hidden = hidden
        self.encoder = encoder
        self.steps = steps
        self.pool = pool

    def build(self, n_inputs, n_outputs, n_rows, generator):
        if count_steps(n_inputs, self.step) < 3:
            raise ValueError(
                f"step={self.step} makes {n_inputs // self.step} of the {n_inputs} numbers of a row: a sequence needs "
                f"at least three steps; use mapper='mlp'"
            )
        check_number("steps", self.steps, low=1, integer=True)
        check_choice("pool", self.pool, ("last", "mean"))
        encoder, width = self._encoder(generator)
        size = n_outputs
        if self.hidden is not None:
            size = check_number("hidden", self.hidden, low=1, integer=True, hint="or None")
        gru = drawn(nn.GRU, size, generator, width, size, batch_first=True)
        ahead = layer(width, self.steps * n_outputs, generator, bias=False)
        head = None if self.hidden is None else layer(size, n_outputs, generator)
        return RecurrentModule(n_inputs, self.step, self.steps, self.pool, encoder, gru, ahead, head)

    def _encoder(self, generator):
        """The module that reads a step, and how many numbers it gives."""
        if not isinstance(self.encoder, nn.Module):
            widths = hidden_widths("encoder", self.encoder)
            if not widths:
                raise ValueError(
                    "encoder=() has no layer; use encoder=torch.nn.Identity() for steps as they are"
                )
            return nn.Sequential(*rectified((self.step, *widths), generator)), widths[-1]
        encoder, tried = copy.deepcopy(self.encoder), copy.deepcopy(self.encoder)
        return encoder, n_outputs_of(tried, "encoder", self.encoder, self.step, ("steps", "numbers"))


class RecurrentModule(nn.Module):
    """Outputs of sequences, of sequences up to a moment, and of single steps, told apart by how many numbers they are.

    Parameters
    ----------
    n_inputs, step, steps : int
    pool : {"last", "mean"}
    encoder, gru, ahead : torch.nn.Module
    head : torch.nn.Module or None
    """

    recurrent = True

    def __init__(self, n_inputs, step, steps, pool, encoder, gru, ahead, head=None):
        super().__init__()
        self.n_inputs, self.step, self.steps, self.pool = n_inputs, step, steps, pool
        self.encoder, self.gru, self.ahead, self.head = encoder, gru, ahead, head

    def forward(self, X):
        width = X.shape[1]
        if width == self.n_inputs:
            states = self.states(X)
            return self._out(states.mean(1) if self.pool == "mean" else states[:, -1])
        if width == 1 + self.n_inputs:
            place = X[:, 0].long()[:, None, None] - 1
            return self._out(self.states(X[:, 1:]).take_along_dim(place, dim=1)[:, 0])
        if width != 1 + self.step:
            raise ValueError(
                f"the mapper reads sequences of {self.n_inputs} numbers and steps of {self.step}, and got {width} a row"
            )
        return self._ahead(X[:, 0].long(), X[:, 1:])

    def after(self, X, which, seen):
        """Outputs of sequences up to a step each, by one pass over the sequences.

        Parameters
        ----------
        X : Tensor of shape (n_sequences, n_steps * step)
        which : Tensor of int64 of shape (n_rows,)
            The sequence of each row.
        seen : Tensor of int64 of shape (n_rows,)
            How many of its steps have been seen.
        """
        return self._out(self.states(X)[which, seen - 1])

    def states(self, X):
        """c_t after each step of sequences, shape (n_rows, n_steps, n_state).

        Parameters
        ----------
        X : Tensor of shape (n_rows, n_steps * step)
        """
        steps = X.reshape(-1, self.step)
        return self.gru(self.encoder(steps).unflatten(0, (len(X), -1)))[0]

    def _ahead(self, distance, X):
        # Outside of training the host may wait for a device.
        if not self.training and int(distance.max()) > self.steps:
            raise ValueError(
                f"p asks for a step {int(distance.max())} ahead, and the mapper has matrices for {self.steps}: use "
                f"Recurrent(steps={int(distance.max())})"
            )
        every = self.ahead(self.encoder(X)).unflatten(1, (self.steps, -1))
        return every.take_along_dim(distance[:, None, None] - 1, dim=1)[:, 0]

    def _out(self, states):
        return states if self.head is None else self.head(states)
