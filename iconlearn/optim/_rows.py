"""Many small problems at once: every row of a table to its own optimum.

    min over Z of sum_r f_r(z_r)

Each row keeps its own inverse Hessian (BFGS) and stops by itself, so that no row sees another: one row
alone takes the same steps as the same row among thousands.
"""

from __future__ import annotations

import torch

__all__ = ["minimise_rows"]

# Curvature along a step has to be this share of |change of gradient| |step| to be learnt.
LEAST_CURVATURE = 1e-8
# A step through a stretch that bends downwards is followed by one this many times as long.
GROWTH = 2.0


def minimise_rows(gradient, start, *, first_step, longest, tolerance, n_steps, values=None):
    """Places where the gradients of the rows vanish, by BFGS on gradients alone.

    Parameters
    ----------
    gradient : callable
        ``gradient(Z)`` of shape (n, d) for a tensor Z of shape (n, d): row r is that of f_r at z_r.
    start : Tensor of shape (n, d)
    first_step : float
        Share of the gradient that the first step is.
    longest : float
        No row moves further than that in one step.
    tolerance : float
        A row whose step is shorter stays where that step has brought it.
    n_steps : int
        Most steps.
    values : callable or None, default=None
        ``values(Z)`` of shape (n,): f_r at z_r.  Steps by gradients alone may leave the basin of the start for one
        that is less deep; a row that ends higher than it began then stays at its start.

    Returns
    -------
    Tensor of shape (n, d)

    References
    ----------
    Nocedal and Wright, "Numerical Optimization", 2nd ed., section 6.1.
    """
    Z = start.clone()
    n, d = Z.shape
    inverse = first_step * torch.eye(d, dtype=Z.dtype).expand(n, d, d).clone()
    fresh = torch.ones(n, dtype=torch.bool)
    moving = torch.ones(n, 1, dtype=torch.bool)
    g = gradient(Z)
    for _ in range(n_steps):
        step = -(inverse * g[:, None, :]).sum(2)
        length = torch.linalg.vector_norm(step, dim=1, keepdim=True)
        step = torch.where(moving, step * (longest / length.clamp_min(1e-300)).clamp_max(1.0), 0.0)
        Z = Z + step
        moving = moving & (length > tolerance)
        if not moving.any():
            break
        g, before = gradient(Z), g
        inverse, fresh = _learnt(inverse, step, g - before, fresh)
    if values is not None:
        Z = torch.where((values(Z) <= values(start))[:, None], Z, start)
    return Z


def _learnt(inverse, s, y, fresh):
    """The inverse Hessians after steps s have changed the gradients by y."""
    sy, yy = (s * y).sum(1), (y * y).sum(1)
    bends = sy > LEAST_CURVATURE * torch.sqrt((s * s).sum(1) * yy)
    rho = torch.where(bends, 1.0 / torch.where(bends, sy, 1.0), 0.0)
    # Before its first update a Hessian takes the scale of the curvature that was met.
    scaled = torch.where(bends & fresh, sy / yy.clamp_min(1e-300), 0.0)[:, None, None]
    diagonal = torch.eye(s.shape[1], dtype=s.dtype)
    inverse = torch.where(scaled > 0, scaled * diagonal, inverse)
    turn = diagonal - (rho[:, None] * s)[:, :, None] * y[:, None, :]
    updated = (turn[:, :, :, None] * inverse[:, None, :, :]).sum(2)
    updated = (updated[:, :, None, :] * turn[:, None, :, :]).sum(3)
    updated = updated + rho[:, None, None] * s[:, :, None] * s[:, None, :]
    downwards = (sy < 0)[:, None, None]
    return torch.where(downwards, GROWTH * inverse, updated), fresh & ~bends
