"""The majorise-minimise step of soft assignments, in one pass over the edges and one over the rows.

G_ic = 2 (1 - a) r_ic sum_j w_ij t_jc / q_ij,     q_ij = (1 - a) sum_c r_ic t_jc + a / n,     t = r / s
r_ic = G_ic / (lambda_i + price_c),               sum_c r_ic = 1
"""

from __future__ import annotations

import numba
import numpy as np

from ..threads import in_stretches
from ._threads import cuts_of_edges, cuts_of_rows

# Sums may be taken in any order; infinities are left alone.
_REORDER = {"reassoc", "contract", "nsz"}
# Stands for the cluster of a row that has several.
_SEVERAL = 2**32 - 1


def explained_by_clusters(r, right, pointers, columns, weights, debias, share, n_threads, valued=True):
    """What each cluster explains of each row's weight.

    Parameters
    ----------
    r, right : ndarray of float64 of shape (n, n_clusters)
        Assignments, and the same over the clusters' masses.
    pointers, columns : ndarray of int
    weights : ndarray of float64
        Symmetric pair weights in CSR form.
    debias, share : float
        a, and a / n for the n rows that these stand for.
    n_threads : int
    valued : bool, default=True
        Whether the loss is asked for.

    Returns
    -------
    G : ndarray of shape (n, n_clusters)
    loss : float
        0 where it is not asked for.
    """
    G, cuts = np.empty_like(r), cuts_of_edges(pointers, n_threads)

    def stretch(k):
        return _explain(r, right, pointers, columns, weights, debias, share, valued, cuts[k], cuts[k + 1], G)

    return G, sum(in_stretches(stretch, n_threads))


def onto_simplex(G, price, r, smallest, n_threads, far=False):
    """The assignments that minimise the bound; rows that nothing explains keep those in `r`.

    Others go 1.75 times as `far` where that is asked for: each assignment times the power 3/4 of what the step has
    multiplied it by.
    """
    # A G far below the prices would be lost beside them, so these are counted from the least.
    new, price = np.empty_like(r), price - price.min()
    cuts = cuts_of_rows(len(r), n_threads)
    in_stretches(lambda k: _solve(G, price, r, smallest, far, cuts[k], cuts[k + 1], new), n_threads)
    return new


@numba.njit(nogil=True, fastmath=_REORDER, error_model="numpy", cache=True)
def _explain(r, right, pointers, columns, weights, debias, share, valued, start, stop, G):
    n_clusters, rest, loss, most = r.shape[1], 1.0 - debias, 0.0, 0
    for i in range(start, stop):
        most = max(most, pointers[i + 1] - pointers[i])
    own, pulled, over = np.empty(n_clusters), np.empty(n_clusters), np.empty(most)
    for i in range(start, stop):
        own[:], pulled[:] = r[i], 0.0
        near, weight = columns[pointers[i] : pointers[i + 1]], weights[pointers[i] : pointers[i + 1]]
        # Short loops, each of which is compiled to operations on several numbers at once.
        for e in range(len(near)):
            q, there = 0.0, right[near[e]]
            for c in range(n_clusters):
                q += own[c] * there[c]
            over[e] = max(rest * q + share, 1e-300)
        if valued:
            for e in range(len(near)):
                loss -= weight[e] * np.log(over[e])
        for e in range(len(near)):
            over[e] = weight[e] / over[e]
        for e in range(len(near)):
            there, factor = right[near[e]], over[e]
            for c in range(n_clusters):
                pulled[c] += factor * there[c]
        for c in range(n_clusters):
            G[i, c] = 2.0 * rest * own[c] * pulled[c]
    return loss


@numba.njit(nogil=True, fastmath=_REORDER, error_model="numpy", cache=True)
def _solve(G, price, r, smallest, far, start, stop, new):
    n_clusters = G.shape[1]
    for i in range(start, stop):
        # Prices count from the lowest of the row, beside which its G may be next to nothing.
        lowest, at = np.inf, -np.inf
        for c in range(n_clusters):
            if G[i, c] > 0.0:
                lowest = min(lowest, price[c])
        if lowest == np.inf:
            new[i] = r[i]
            continue
        for c in range(n_clusters):
            at = max(at, G[i, c] - max(price[c] - lowest, 0.0))
        # Newton's method from the left of the root.
        for _ in range(60):
            excess, slope = -1.0, 0.0
            for c in range(n_clusters):
                over = 1.0 / max(at + max(price[c] - lowest, 0.0), 1e-300)
                ratio = G[i, c] * over
                excess += ratio
                slope += ratio * over
            at += excess / slope
            if abs(excess) <= 1e-12:
                break
        total = 0.0
        for c in range(n_clusters):
            found = G[i, c] / max(at + max(price[c] - lowest, 0.0), 1e-300)
            if far:
                grown = np.sqrt(found / max(r[i, c], smallest))
                found *= grown * np.sqrt(grown)
            new[i, c] = max(found, smallest)
            total += new[i, c]
        for c in range(n_clusters):
            new[i, c] /= total


def explained_by_lists(lists, scale, pointers, columns, weights, debias, share, smallest, n_threads):
    """As :func:`explained_by_clusters`, where rows have few clusters each: a pass over those instead of over all.

    Parameters
    ----------
    lists : tuple of (ndarray of uint64 of shape (n + 1,), ndarray of uint32, ndarray of float64)
        Assignments in CSR form; those that are not listed are zero.  Rows without any have no edges.
    scale : ndarray of float64 of shape (n_clusters,)
        One over the clusters' masses.
    pointers, columns : ndarray of uint32 or uint64
    weights, debias, share
        As for :func:`explained_by_clusters`.
    smallest : float
        What an assignment that a neighbour has and the row has not counts as, so that it can grow.
    n_threads : int

    Returns
    -------
    G : list of tuple
        For each stretch of rows: its first row, and G in CSR form.
    total : ndarray of shape (n_clusters,)
        Sums of G over the rows.
    loss : float
    """
    cuts, alone = cuts_of_edges(pointers, n_threads), _only_clusters(*lists[:2])

    def stretch(k):
        start, stop = int(cuts[k]), int(cuts[k + 1])
        n_clusters = len(scale)
        room = 2 * int(lists[0][stop] - lists[0][start]) + 4 * n_clusters
        ends, clusters, G = np.zeros(stop - start + 1, np.uint64), np.empty(room, np.uint32), np.empty(room)
        total, loss, done = np.zeros(n_clusters), 0.0, start
        while True:
            done, more = _explain_lists(
                *lists, alone, scale, pointers, columns, weights, debias, share, smallest, start, done, stop,
                ends, clusters, G, total,
            )  # fmt: skip
            loss += more
            if done == stop:
                return (start, ends, clusters, G), total, loss
            clusters, G = (np.concatenate([held, np.empty_like(held)]) for held in (clusters, G))

    G, totals, losses = zip(*in_stretches(stretch, n_threads), strict=True)
    return G, np.sum(totals, axis=0), sum(losses)


def _only_clusters(ends, clusters):
    """The cluster of each row that has one alone; _SEVERAL for the others."""
    alone, single = np.full(len(ends) - 1, _SEVERAL, np.uint32), ends[1:] - ends[:-1] == 1
    alone[single] = clusters[ends[:-1][single]]
    return alone


def lists_onto_simplex(G, price, pull, lists, kept, size, smallest, far):
    """As :func:`onto_simplex`, where rows have few clusters each.

    Parameters
    ----------
    G : list of tuple
        As :func:`explained_by_lists` gives it; written over.
    price : ndarray of shape (n_clusters,)
    pull : ndarray of shape (n_clusters,)
        What is added to G for each assignment and each of the rows that a row stands for.
    lists : tuple
        The assignments before.
    kept : ndarray of bool of shape (n,)
        Rows that keep them.
    size : ndarray of float64 of shape (n,)
        What G is divided by.
    smallest : float
        What is not more is not listed.
    far : bool
        Whether to go 1.75 times as far: each assignment times the power 3/4 of what the step has multiplied it by.

    Returns
    -------
    lists : tuple
    mass : ndarray of shape (n_clusters,)
        The sums of the assignments times `size`.
    """

    def stretch(k):
        start, ends, clusters, values = G[k]
        stop = start + len(ends) - 1
        room = int(ends[-1]) + int(lists[0][stop] - lists[0][start])
        new = np.zeros_like(ends), np.empty(room, np.uint32), np.empty(room)
        mass = np.zeros(len(price))
        _solve_lists(
            ends, clusters, values, price, pull, *lists, kept, size, smallest, far, start, *new, mass
        )
        used = int(new[0][-1])
        return (new[0], new[1][:used], new[2][:used]), mass

    parts, masses = zip(*in_stretches(stretch, len(G)), strict=True)
    return _joined(parts), np.sum(masses, axis=0)


def _joined(parts):
    """Lists of stretches of rows as one."""
    if len(parts) == 1:
        return parts[0]
    ends, clusters, values = zip(*parts, strict=True)
    shifted, before = [ends[0][:1]], np.uint64(0)
    for part in ends:
        shifted.append(part[1:] + before)
        before += part[-1]
    return np.concatenate(shifted), np.concatenate(clusters), np.concatenate(values)


# Unsigned numbers of rows and clusters spare the loops a look whether they count from the end.
@numba.njit(nogil=True, fastmath=_REORDER, error_model="numpy", cache=True)
def _explain_lists(
    at, which, value, alone, scale, pointers, columns, weights, debias, share, smallest, first, start, stop,
    ends, clusters, G, total,
):  # fmt: skip
    n_clusters, rest, loss = len(scale), 1.0 - debias, 0.0
    own, pulled = np.zeros(n_clusters), np.zeros(n_clusters)
    used = ends[start - first]
    for i in range(start, stop):
        if used + np.uint64(n_clusters) > len(G):
            return i, loss
        mine, within, mass = alone[i], 0.0, 0.0
        for f in range(at[i], at[i + 1]):
            own[which[f]] = value[f] * scale[which[f]]
        for e in range(pointers[i], pointers[i + 1]):
            j, q = columns[e], 0.0
            mass += weights[e]
            # Most pairs are of two rows that are in one and the same cluster alone, and have one q.
            if mine < _SEVERAL and alone[j] == mine:
                within += weights[e]
                continue
            begin, end = at[j], at[j + np.uint64(1)]
            for f in range(begin, end):
                q += own[which[f]] * value[f]
            apart = q <= 0.0  # no cluster in common: each row may come to those of the other
            if apart:
                for f in range(begin, end):
                    q += smallest * scale[which[f]] * value[f]
                for f in range(at[i], at[i + 1]):
                    q += smallest * own[which[f]]
            q = max(rest * q + share, 1e-300)
            over = weights[e] / q
            # Each pair is met from both ends.
            if j > i:
                loss -= 2.0 * weights[e] * np.log(q)
            elif j == i:
                loss -= weights[e] * np.log(q)
            for f in range(begin, end):
                pulled[which[f]] += over * value[f]
            if apart:
                for f in range(at[i], at[i + 1]):
                    pulled[which[f]] += over * smallest
        begin, end = np.uint64(0), np.uint64(n_clusters)
        if within > 0.0:
            q = max(rest * scale[mine] + share, 1e-300)
            loss -= within * np.log(q)
            pulled[mine] += within / q
            if within == mass:
                begin, end = np.uint64(mine), np.uint64(mine) + np.uint64(1)
        least = 0.1 * smallest * 2.0 * rest * mass
        for c in range(begin, end):
            g = 2.0 * rest * max(own[c], smallest * scale[c]) * pulled[c]
            pulled[c] = 0.0
            # Others would end below what is listed.
            if g > least:
                total[c] += g
                clusters[used] = c
                G[used] = g
                used += np.uint64(1)
        for f in range(at[i], at[i + 1]):
            own[which[f]] = 0.0
        ends[i - first + 1] = used
    return stop, loss


@numba.njit(nogil=True, fastmath=_REORDER, error_model="numpy", cache=True)
def _solve_lists(
    g_ends, g_clusters, G, price, pull, at, which, value, kept, size, smallest, far, start,
    ends, clusters, new, mass,
):  # fmt: skip
    used, own = np.uint64(0), np.zeros(len(price))
    for k in range(len(ends) - 1):
        i, begin, end, begun = start + k, g_ends[k], g_ends[k + 1], used
        if not (kept[i] or begin == end):
            for f in range(at[i], at[i + 1]):
                own[which[f]] = value[f]
            over_size, lowest, lam = 1.0 / size[i], np.inf, -np.inf
            for f in range(begin, end):
                lowest = min(lowest, price[g_clusters[f]])
            for f in range(begin, end):
                c = g_clusters[f]
                G[f] = G[f] * over_size + pull[c] * own[c]
                lam = max(lam, G[f] - (price[c] - lowest))
            # Newton's method from the left of the root.
            for _ in range(60):
                excess, slope = -1.0, 0.0
                for f in range(begin, end):
                    over = 1.0 / max(lam + (price[g_clusters[f]] - lowest), 1e-300)
                    ratio = G[f] * over
                    excess += ratio
                    slope += ratio * over
                lam += excess / slope
                if abs(excess) <= 1e-12:
                    break
            total = 0.0
            for f in range(begin, end):
                c = g_clusters[f]
                r = G[f] / max(lam + (price[c] - lowest), 1e-300)
                if r > smallest:
                    if far and own[c] > 0.0:
                        grown = np.sqrt(r / own[c])
                        r *= grown * np.sqrt(grown)
                    clusters[used], new[used] = c, r
                    total += r
                    used += np.uint64(1)
            for f in range(begun, used):
                new[f] /= total
            for f in range(at[i], at[i + 1]):
                own[which[f]] = 0.0
        if used == begun:
            for f in range(at[i], at[i + 1]):
                clusters[used], new[used] = which[f], value[f]
                used += np.uint64(1)
        for f in range(begun, used):
            mass[clusters[f]] += size[i] * new[f]
        ends[k + 1] = used
