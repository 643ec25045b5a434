"""Cubic B-splines between points and a grid of one to three dimensions.

The twin of ``engines/_splines.py``, which has the formulas; a grid of fewer dimensions is one of three whose
first axes have a single node.  What a point reads of its own charge is a polynomial of t (1 - t) along each axis, with t
in [0, 1) its place between nodes: sums of products of weights that lie some nodes apart are such, without a linear term.
"""

from __future__ import annotations

from functools import cache

import numba
import numpy as np

from ..threads import in_stretches
from ._threads import cuts_of_rows

# Copies of the grid that the threads of a spreading may have between them.
MAX_COPIES = 8
NOTHING = np.empty(0, np.float32)


def spread_points(points, low, inverse, shape, charges, n_threads):
    """Density of charges on a grid.

    Parameters
    ----------
    points : ndarray of float32 of shape (n, d)
    low : ndarray of float32 of shape (d,)
        Place of the first node.
    inverse : float
        One over the spacing.
    shape : tuple of int
        Nodes along each axis.
    charges : ndarray of float32 of shape (n,) or (0,)
        Empty for charges of one.
    n_threads : int

    Returns
    -------
    ndarray of float32 of the given shape
    """
    n_threads = min(n_threads, MAX_COPIES)
    grids = np.zeros((n_threads, *_cube(shape)), np.float32)
    cuts, inverse, spread = cuts_of_rows(len(points), n_threads), np.float32(inverse), _spread(points.shape[1])
    in_stretches(lambda k: spread(points, low, inverse, charges, cuts[k], cuts[k + 1], grids[k]), n_threads)
    if n_threads > 1:
        flat = grids.reshape(n_threads, -1)
        cuts = cuts_of_rows(flat.shape[1], n_threads)
        in_stretches(lambda k: _add_up(flat, cuts[k], cuts[k + 1]), n_threads)
    return grids[0].reshape(shape)


def read_points(points, low, inverse, field, n_threads, own=NOTHING, charges=NOTHING):
    """Values of a field of shape (n,) and its gradient of shape (n, d) at the points.

    With coefficients `own`, of shape (3,) * d, less what each point reads of its own charge: coefficients of powers 0, 2
    and 3 of t (1 - t) along each axis.  Without `charges` these are one.
    """
    value, slope = np.empty(len(points), np.float32), np.empty_like(points)
    field, cuts = field.reshape(_cube(field.shape)), cuts_of_rows(len(points), n_threads)
    read, inverse, own = _read(points.shape[1]), np.float32(inverse), own.reshape(-1)
    in_stretches(
        lambda k: read(points, low, inverse, field, own, charges, cuts[k], cuts[k + 1], value, slope),
        n_threads,
    )
    return value, slope


def _cube(shape):
    return (1,) * (3 - len(shape)) + tuple(shape)


def _add_up(grids, start, stop):
    for grid in grids[1:]:
        grids[0, start:stop] += grid[start:stop]


@numba.njit(nogil=True, fastmath=True, inline="always")
def _weights(t):
    s, tt = np.float32(1) - t, t * t
    return (
        s * s * s * np.float32(1 / 6),
        (np.float32(0.5) * t - np.float32(1)) * tt + np.float32(2 / 3),
        (s * t + np.float32(1)) * t * np.float32(0.5) + np.float32(1 / 6),
        tt * t * np.float32(1 / 6),
    )


@numba.njit(nogil=True, fastmath=True, inline="always")
def _slopes(t):
    s, tt = np.float32(1) - t, t * t
    return (
        -np.float32(0.5) * s * s,
        (np.float32(1.5) * t - np.float32(2)) * t,
        np.float32(0.5) + t - np.float32(1.5) * tt,
        np.float32(0.5) * tt,
    )


@cache
def _spread(d):
    planes, lines = (4 if d>2 else 1), (4 if d>1 else 1)
    @numba.njit(nogil=True, fastmath=True, cache=True)
    def rows(points, low, inverse, charges, start, stop, grid):
        nr, nc = grid.shape[1], grid.shape[2]
        flat = grid.reshape(-1)
        wz=np.ones(4,np.float32); wy=np.ones(4,np.float32)
        unit = len(charges)==0
        for i in range(start, stop):
            x = (points[i, d-1] - low[d-1]) * inverse
            at = int(x); t = x - np.float32(at)
            c = np.float32(1) if unit else charges[i]
            w0,w1,w2,w3 = _weights(t)
            w0*=c; w1*=c; w2*=c; w3*=c
            if d > 1:
                y = (points[i, d-2] - low[d-2]) * inverse
                cy = int(y)
                at += cy*nc
                wy[0],wy[1],wy[2],wy[3] = _weights(y - np.float32(cy))
            if d > 2:
                z = (points[i, 0] - low[0]) * inverse
                cz = int(z)
                at += cz*nc*nr
                wz[0],wz[1],wz[2],wz[3] = _weights(z - np.float32(cz))
            for a in range(planes):
                for b in range(lines):
                    p = np.uint64(at + (a*nr+b)*nc)
                    w = wz[a]*wy[b] if d>2 else wy[b]
                    flat[p]+=w*w0; flat[p+np.uint64(1)]+=w*w1; flat[p+np.uint64(2)]+=w*w2; flat[p+np.uint64(3)]+=w*w3
    return rows


@cache
def _read(d):
    planes, lines = (4 if d>2 else 1), (4 if d>1 else 1)
    @numba.njit(nogil=True, fastmath=True, cache=True)
    def rows(points, low, inverse, field, own, charges, start, stop, value, slope):
        nr, nc = field.shape[1], field.shape[2]
        flat = field.reshape(-1)
        wz=np.ones(4,np.float32); dz=np.zeros(4,np.float32); wy=np.ones(4,np.float32); dy=np.zeros(4,np.float32)
        qz=np.ones(3,np.float32); ez=np.zeros(3,np.float32); qy=np.ones(3,np.float32); ey=np.zeros(3,np.float32)
        unit = len(charges)==0
        for i in range(start, stop):
            x = (points[i, d-1] - low[d-1]) * inverse
            at = int(x); tx = x - np.float32(at)
            ty = tz = np.float32(0)
            if d > 1:
                y = (points[i, d-2] - low[d-2]) * inverse
                cy = int(y); ty = y - np.float32(cy)
                at += cy*nc
                wy[0],wy[1],wy[2],wy[3] = _weights(ty)
                dy[0],dy[1],dy[2],dy[3] = _slopes(ty)
            if d > 2:
                z = (points[i, 0] - low[0]) * inverse
                cz = int(z); tz = z - np.float32(cz)
                at += cz*nc*nr
                wz[0],wz[1],wz[2],wz[3] = _weights(tz)
                dz[0],dz[1],dz[2],dz[3] = _slopes(tz)
            a0=a1=a2=a3=np.float32(0); y0=y1=y2=y3=np.float32(0); z0=z1=z2=z3=np.float32(0)
            for a in range(planes):
                for b in range(lines):
                    p = np.uint64(at + (a*nr+b)*nc)
                    f0,f1,f2,f3 = flat[p],flat[p+np.uint64(1)],flat[p+np.uint64(2)],flat[p+np.uint64(3)]
                    w = wz[a]*wy[b] if d>2 else wy[b]
                    a0+=w*f0; a1+=w*f1; a2+=w*f2; a3+=w*f3
                    if d>1:
                        w = wz[a]*dy[b] if d>2 else dy[b]
                        y0+=w*f0; y1+=w*f1; y2+=w*f2; y3+=w*f3
                    if d>2:
                        w = dz[a]*wy[b]
                        z0+=w*f0; z1+=w*f1; z2+=w*f2; z3+=w*f3
            w0,w1,w2,w3 = _weights(tx)
            d0,d1,d2,d3 = _slopes(tx)
            v = w0*a0+w1*a1+w2*a2+w3*a3
            gx = d0*a0+d1*a1+d2*a2+d3*a3
            gy = w0*y0+w1*y1+w2*y2+w3*y3
            gz = w0*z0+w1*z1+w2*z2+w3*z3
            if len(own):
                c = np.float32(1) if unit else charges[i]
                px = tx*(np.float32(1)-tx)
                xx = px*px; xxx = xx*px; hx = np.float32(2)*px; hxx = np.float32(3)*xx
                if d > 1:
                    p = ty*(np.float32(1)-ty)
                    qy[1], qy[2] = p*p, p*p*p
                    ey[1], ey[2] = np.float32(2)*p, np.float32(3)*p*p
                if d > 2:
                    p = tz*(np.float32(1)-tz)
                    qz[1], qz[2] = p*p, p*p*p
                    ez[1], ez[2] = np.float32(2)*p, np.float32(3)*p*p
                o=ox=oy=oz=np.float32(0)
                for a in range(3 if d>2 else 1):
                    l=lx=ly=np.float32(0)
                    for b in range(3 if d>1 else 1):
                        m = 9*a+3*b
                        k0,k2,k3 = own[m],own[m+1],own[m+2]
                        e = k0 + k2*xx + k3*xxx
                        l += qy[b]*e
                        lx += qy[b]*(k2*hx+k3*hxx)
                        ly += ey[b]*e
                    o += qz[a]*l; ox += qz[a]*lx; oy += qz[a]*ly; oz += ez[a]*l
                h = np.float32(.5)*c
                v -= c*o
                gx -= h*ox*(np.float32(1)-np.float32(2)*tx); gy -= h*oy*(np.float32(1)-np.float32(2)*ty); gz -= h*oz*(np.float32(1)-np.float32(2)*tz)
            value[i] = v
            slope[i,d-1] = gx*inverse
            if d>1: slope[i,d-2] = gy*inverse
            if d>2: slope[i,0] = gz*inverse
    return rows
