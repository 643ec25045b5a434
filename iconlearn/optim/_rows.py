"""Many small problems at once: every row of a table to its own optimum.

    min over Z of sum_r f_r(z_r)

Each row keeps its own inverse Hessian (BFGS) and stops by itself, so that rows are independent: one row
alone takes the same steps as the same row among thousands.
"""

from __future__ import annotations

import torch

# Curvature along a step has to be this share of |change of gradient| |step| to be learnt.
LEAST_CURVATURE = 1e-8
# A step through a stretch that bends downwards is followed by one this many times as long.
GROWTH = 2.0
# A step is taken where the function falls by this share of what its slope promises, up to rounding.
LEAST_DECREASE = 1e-4
ROUNDING = 1e-14
# For compiled loops that take the same steps.
ROW_RULES = (LEAST_CURVATURE, GROWTH, LEAST_DECREASE, ROUNDING)


def minimise_rows(evaluate, start, *, first_step, longest, tolerance, n_steps):
    """Local minima of the rows' functions, by BFGS; no row ends higher than it began.

    A step that does not lower a row's function enough is not taken, and a shorter one is tried, down to the tolerance.

    Parameters
    ----------
    evaluate : callable
        ``evaluate(Z)`` for a tensor Z of shape (n, d) gives the values f_r(z_r), shape (n,), and their gradients,
        shape (n, d); ``evaluate(Z, gradients=False)`` the values alone.
    start : Tensor of shape (n, d)
    first_step : float
        Share of the gradient that the first step is.
    longest : float
        No row moves further than that in one step.
    tolerance : float
        A row whose step is shorter stops after that step.
    n_steps : int
        Most steps.

    Returns
    -------
    Tensor of shape (n, d)

    References
    ----------
    Nocedal and Wright, "Numerical Optimization", 2nd ed., sections 3.1 and 6.1.
    """
    Z = start.clone()
    n, d = Z.shape
    inverse = first_step * torch.eye(d, dtype=Z.dtype).expand(n, d, d).clone()
    fresh = torch.ones(n, dtype=torch.bool)
    moving = torch.ones(n, dtype=torch.bool)
    most = torch.full((n,), longest, dtype=Z.dtype)
    f, g = evaluate(Z)
    for _ in range(n_steps):
        step = -(inverse * g[:, None, :]).sum(2)
        length = torch.linalg.vector_norm(step, dim=1)
        factor = (most / length.clamp_min(1e-300)).clamp_max(1.0)
        step, length = torch.where(moving[:, None], step * factor[:, None], 0.0), length * factor
        slope = (g * step).sum(1)
        moving = moving & (length > tolerance)
        last = not moving.any()
        f_new, g_new = (evaluate(Z + step, gradients=False), None) if last else evaluate(Z + step)
        accepted = f_new <= f + LEAST_DECREASE * slope + ROUNDING * f.abs()
        Z = torch.where(accepted[:, None], Z + step, Z)
        if last:
            break
        # The minimum of the parabola through both values and the slope; a step that is not taken has shown how the
        # function bends all the same.
        shorter = (-0.5 * slope / (f_new - f - slope)).nan_to_num(0.5).clamp(0.1, 0.5)
        most = torch.where(accepted, longest, shorter * length)
        change = g_new - g
        f, g = torch.where(accepted, f_new, f), torch.where(accepted[:, None], g_new, g)
        inverse, fresh = _learnt(inverse, step, change, fresh, accepted)
    return Z


def _learnt(inverse, s, y, fresh, accepted):
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
    downwards = ((sy < 0) & accepted)[:, None, None]
    return torch.where(downwards, GROWTH * inverse, updated), fresh & ~bends
