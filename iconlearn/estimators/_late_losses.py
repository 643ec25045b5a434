"""Losses that are found when somebody asks for them.

Where an engine solves a problem without a part of its loss that takes far longer than the answer (the row normalisers
of k-means need all pairs, the steps need none), the fit keeps its losses without that part, and beside them how to
find it.
"""

from __future__ import annotations

__all__ = ["LateLosses"]


class _Late:
    """A fitted attribute which, where its losses were put off, is found once and then stays.

    It yields to an attribute of the instance, so a fit that knows its losses simply sets them.
    """

    def __set_name__(self, owner, name):
        self.name = name

    def __get__(self, estimator, owner=None):
        if estimator is None:
            return self
        late = vars(estimator).get("_late")
        if late is None or self.name not in late[1]:
            raise AttributeError(f"{self.name} is there once the estimator is fitted")
        constant, losses = late
        vars(estimator)[self.name] = losses[self.name] + constant()
        return vars(estimator)[self.name]


class LateLosses:
    """Gives an estimator the attributes loss_, loss_history_ and loss_parts_ after a fit that put them off."""

    loss_ = _Late()
    loss_history_ = _Late()
    loss_parts_ = _Late()

    def _put_off_losses(self, constant):
        """Take the losses of this fit away until they are asked for; ``constant()`` is what they lack, if anything.

        It is one number for all of them: an engine that solves has one column of `loss_parts_` for all terms.
        """
        if constant is None:
            self._late = None
            return
        names = ("loss_", "loss_history_", "loss_parts_")
        self._late = constant, {name: vars(self).pop(name) for name in names}
