"""Words and the company they keep: p(context | word) from counts within a window.

    skip-gram   p(c|w) ∝ C_wc / f_c^discount,      f_c = sum_w C_wc,      the weight of word w is sum_c C_wc
    CBOW        p(w|bag) = 1[w is the word in the middle],      a bag is the mean of the words around it
    next        p(w|context) = 1[w comes next],                 a context is the words before it, in their order
    masked      p(w|context) = 1[w is hidden],                  a context is the words around it, in their order

Frequent words are thinned as word2vec does it, in expectation instead of by chance: a word of frequency f
keeps the share min(1, sqrt(t / f) + t / f).

Without a discount every word's vector has to say how frequent the contexts are, which makes all of them alike.
Negative sampling takes that off: with negatives drawn in proportion to f_c^a its optimum is
u_w . v_c = log(p(c|w) / f_c^a) up to a constant, and word2vec has a = 3/4.

Sums over the vocabulary give way to short lists by either of two outputs, whose lists hold a column and nothing:

    tree        p = share of the left child in the mass below an inner node of a Huffman tree; the lists of a word make
                up KL(p(.|w) || q(.|w)), with q(c|w) the product of sigmoids over the path to c
    negative    p = p(c|w) / (p(c|w) + k P(c)),      P(c) ∝ f_c^discount: which of the pairs (w, c) are no noise
"""

from __future__ import annotations

import numpy as np
from scipy.sparse import coo_array, csr_array
from sklearn.utils import check_random_state

from ..._checks import check_choice, check_number
from ...conditional import Conditional, ListConditional, along_entries, normalize_rows, one_column
from .._base import Supervisory, warn_empty
from ._huffman import HuffmanTree
from ._tokens import bags_of

ALONE = "no two tokens stand in one window; give sentences of at least two words"

# What stands for the hidden word in a sentence that is to be read as a context.
MASK = "[MASK]"

# Characters of a vocabulary in which every word may take as much memory as the longest.
MAX_PADDED = 10**7

# Pairs of a row and a column of which each has its exact share of the noise; of more, some are drawn.
MAX_NOISE = 2 * 10**6


class Cooccurrence(Supervisory):
    """p(context | word), or p(word | context), from tokens or from counts.

    X is a list of lists of tokens (or a Series or an array of such lists; the estimator then has ``vocabulary_``), or
    a matrix of counts with a row per word and a column per context.

    Parameters
    ----------
    window : int, default=5
        Words to each side that count as context (tokens only).
    mode : {"skipgram", "cbow", "next", "masked"}, default="skipgram"
        "skipgram": rows are words, columns contexts.  "cbow": rows are bags of context words, one for every
        token, columns words; tokens only.  "next": rows are the `window` words before a token, in their order, as unit
        vectors side by side (zeros before the first word of a sentence), columns words; the features of a row are
        `window` times the words.  "masked": the same with the `window` words after it besides.  Both are for mappers
        that read the order, :class:`iconlearn.mappers.Recurrent` with a step of as many numbers as there are words
        among them; tokens only.
    min_count : int, default=1
        Rarer words are left out before windows are made (tokens only).
    subsample : float or None, default=None
        t in the formula above; 1e-3 to 1e-5 are usual.  None keeps everything.
    dynamic : bool, default=True
        Whether a word at distance d counts (window + 1 - d) / window, as if the window were drawn at random; without
        effect on "next" and "masked", whose words have places.
    discount : float, default=0.0
        How much of the contexts' own frequency is taken off p, in [0, 1]; at 1 rows are in proportion to the
        exponential of pointwise mutual information ("skipgram" only).  With ``output="negative"`` the power of the
        frequency by which noise is drawn, in both modes; it is the noise that takes it off.
    output : {"softmax", "tree", "negative"}, default="softmax"
        "softmax": p and q are over all columns.  "tree": hierarchical softmax, a binary choice at each inner node of
        a Huffman tree; the columns are the inner nodes.  "negative": negative sampling, a logistic regression of
        pairs of the text against pairs of noise.  The last two are meant for ``q="dot"``.
    n_negatives : int, default=5
        k, the number of noise pairs for each pair of the text (``output="negative"`` only).  Up to 2e6 pairs of a row
        and a column every pair has its expected share of the noise; beyond, the noise of a row is drawn once by
        ``fit``, k columns for each of its own.

    Attributes
    ----------
    conditional_ : Conditional or ListConditional
        Rows without any count carry no mass.
    tree_ : HuffmanTree
        With ``output="tree"``.

    References
    ----------
    Mikolov et al., "Distributed representations of words and phrases and their compositionality", NeurIPS
    2013; Levy and Goldberg, "Neural word embedding as implicit matrix factorization", NeurIPS 2014; Levy, Goldberg
    and Dagan, "Improving distributional similarity with lessons learned from word embeddings", TACL 2015.
    """

    columns = "contexts"

    # For what was stored before there were such parameters.
    output = "softmax"
    n_negatives = 5

    def __init__(
        self,
        window=5,
        *,
        mode="skipgram",
        min_count=1,
        subsample=None,
        dynamic=True,
        discount=0.0,
        output="softmax",
        n_negatives=5,
    ):
        self.window = window
        self.mode = mode
        self.min_count = min_count
        self.subsample = subsample
        self.dynamic = dynamic
        self.discount = discount
        self.output = output
        self.n_negatives = n_negatives

    @property
    def requires_y(self):
        return self.mode != "skipgram"

    @property
    def _offsets(self):
        """Where the words of an ordered context are, seen from the one that is predicted."""
        before = np.arange(-self.window, 0)
        return before if self.mode == "next" else np.r_[before, -before[::-1]]

    def prepare(self, X):
        """Counts (or bags and their words) of token lists.

        Parameters
        ----------
        X : list of list of str

        Returns
        -------
        X : csr_array
            Counts of shape (n_words, n_words), bags of shape (n_tokens, n_words), or contexts of shape
            (n_tokens, n_places n_words).
        y : ndarray of int or None
            The word in the middle of each bag, or the one that is predicted from each context.
        vocabulary : ndarray of str of shape (n_words,)
            Most frequent first.
        """
        self._check()
        words, codes, sentence = self._encode(X)
        n = len(words)
        if self.mode in ("next", "masked"):
            contexts = self._contexts(codes, sentence, np.arange(len(codes)), n)
            has = np.diff(contexts.indptr) > 0
            if not has.any():
                raise ValueError(ALONE)
            return contexts[has], codes[has], words
        i, j, weight = self._neighbours(codes, sentence)
        if self.mode == "skipgram":
            counts = csr_array(
                coo_array(
                    (np.r_[weight, weight], (np.r_[codes[i], codes[j]], np.r_[codes[j], codes[i]])), (n, n)
                )
            )
            return counts, None, words
        size = len(codes)
        bags = csr_array(
            coo_array((np.r_[weight, weight], (np.r_[i, j], np.r_[codes[j], codes[i]])), (size, n))
        )
        has = np.diff(bags.indptr) > 0
        return normalize_rows(bags)[has], codes[has], words

    def rows_of(self, sentences, vocabulary):
        """New sentences as rows.

        Parameters
        ----------
        sentences : list of list of str
        vocabulary : sequence of str
            Other words are left out.

        Returns
        -------
        csr_array
            Bags of their words; with "next" and "masked" the context of the word that would follow a sentence, or, with
            "masked", of its first ``"[MASK]"``.
        """
        if self.mode in ("skipgram", "cbow"):
            return bags_of(sentences, vocabulary)
        number = {str(word): k for k, word in enumerate(vocabulary)}
        gap, codes, sentence, at = len(number), [], [], []
        for k, row in enumerate(sentences):
            here = row.index(MASK) if self.mode == "masked" and MASK in row else len(row)
            known = [
                [number[str(word)] for word in part if str(word) in number]
                for part in (row[:here], row[here:])
            ]
            at.append(len(codes) + len(known[0]))
            codes += [*known[0], gap, *known[1]]
            sentence += [k] * (len(known[0]) + 1 + len(known[1]))
        return self._contexts(np.array(codes), np.array(sentence), np.array(at), gap)

    def fit(self, X, y=None, *, random_state=None, n_jobs=None):
        """Normalise the counts; see :meth:`Supervisory.fit`."""
        self._check()
        vars(self).pop("tree_", None)
        rng = check_random_state(random_state)
        if self.requires_y:
            codes = np.asarray(y) if y is not None else None
            if codes is None or not np.issubdtype(codes.dtype, np.integer) or len(codes) != X.shape[0]:
                raise ValueError(
                    f"Cooccurrence(mode={self.mode!r}) needs tokens: give X as a list of lists of words"
                )
            n_words = X.shape[1] if self.mode == "cbow" else X.shape[1] // len(self._offsets)
            keep = self._keep(np.bincount(codes, minlength=n_words))
            edges, mass = one_column(codes, n_words).edges, keep[codes]
            self.conditional_ = self._chosen(edges, mass, np.bincount(codes, mass, n_words), rng)
            return self
        counts = csr_array(X, dtype=float, copy=True)
        counts.sum_duplicates()
        if counts.data.min(initial=0.0) < 0:
            raise ValueError(
                f"the counts have a negative entry ({counts.data.min():g}): all must be at least 0"
            )
        of_word = self._keep(np.asarray(counts.sum(axis=1)).ravel())
        of_context = self._keep(np.asarray(counts.sum(axis=0)).ravel())
        counts.data *= along_entries(of_word, counts) * of_context[counts.indices]
        mass = np.asarray(counts.sum(axis=1)).ravel()
        of_columns = np.asarray(counts.sum(axis=0)).ravel()
        # A context that never occurred carries no information about a new word.
        frequency = np.where(of_columns == 0, np.inf, of_columns)
        discount = 0.0 if self.output == "negative" else self.discount
        self._weights = of_context * frequency**-discount
        counts.data *= frequency[counts.indices] ** -discount
        edges = normalize_rows(counts)
        warn_empty(np.diff(edges.indptr) > 0, "any count", "give positive counts, or a wider window")
        self.conditional_ = self._chosen(edges, mass, of_columns, rng)
        return self

    def _chosen(self, edges, mass, frequency, rng):
        """The conditional of the chosen output, from rows of p over words; `frequency` is that of the columns."""
        if self.output == "softmax":
            return Conditional(edges, mass=mass)
        if self.output == "tree":
            self.tree_ = HuffmanTree(frequency)
            below, left = self.tree_.masses(edges)
            return _against_nothing(below, left, mass)
        noise = self._noise(edges, frequency, rng)
        both = csr_array(edges + noise)
        both.sort_indices()
        text = csr_array(both + edges)
        text.sort_indices()
        text.data -= both.data
        text.data[text.data < np.finfo(float).eps * 8 * both.data] = 0.0
        return _against_nothing(both, text, mass)

    def _noise(self, edges, frequency, rng):
        """k P(c) for every pair of a row that has a p and a column, in expectation or as drawn; a csr_array."""
        share = np.where(frequency > 0, np.maximum(frequency, 1e-300) ** self.discount, 0.0)
        share /= share.sum()
        sizes, (n_rows, n_cols) = np.diff(edges.indptr), edges.shape
        rows = np.flatnonzero(sizes)
        if n_rows * n_cols <= MAX_NOISE:
            on = np.flatnonzero(share)
            i, j = np.repeat(rows, len(on)), np.tile(on, len(rows))
            return csr_array((self.n_negatives * share[j], (i, j)), shape=edges.shape)
        i = np.repeat(rows, self.n_negatives * sizes[rows])
        j = rng.choice(n_cols, len(i), p=share)
        return csr_array(coo_array((1.0 / sizes[i], (i, j)), shape=edges.shape))

    def _extend(self, X_new, n_jobs):
        if self.output != "softmax":
            raise ValueError(
                f"Cooccurrence(output={self.output!r}) has no p for new rows over the columns of the fit; take the "
                f"places of their words, as iconlearn.words.sentence_vectors does, or output='softmax'"
            )
        if self.requires_y:
            rows = "bags; a linear mapper" if self.mode == "cbow" else "contexts; a mapper of features"
            raise ValueError(
                f"Cooccurrence(mode={self.mode!r}) has no p for new {rows} maps them without one"
            )
        counts = csr_array(X_new, dtype=float, copy=True)
        if counts.shape[1] != self.conditional_.n_cols:
            raise ValueError(
                f"X has {counts.shape[1]} contexts, but p was fitted on {self.conditional_.n_cols}"
            )
        counts.data *= self._weights[counts.indices]
        return Conditional(normalize_rows(counts))

    def _check(self):
        check_number("window", self.window, low=1, integer=True)
        check_choice("mode", self.mode, ["skipgram", "cbow", "next", "masked"])
        check_number("min_count", self.min_count, low=1, integer=True)
        check_number("discount", self.discount, low=0, high=1)
        check_choice("output", self.output, ["softmax", "tree", "negative"])
        check_number("n_negatives", self.n_negatives, low=1, integer=True)
        if self.subsample is not None:
            check_number("subsample", self.subsample, low=0, closed="neither", hint="1e-3 to 1e-5 are usual")

    def _keep(self, counts):
        """The share of each word that is kept."""
        if self.subsample is None:
            return np.ones(len(counts))
        frequency = np.maximum(counts / max(counts.sum(), 1e-300), 1e-300)
        return np.minimum(1.0, np.sqrt(self.subsample / frequency) + self.subsample / frequency)

    def _encode(self, X):
        """Vocabulary, the code of every kept token, and the sentence it is in."""
        lengths = [len(tokens) for tokens in X]
        sentence = np.repeat(np.arange(len(lengths)), lengths)
        # Not as an array of strings, in which all tokens would be as wide as the longest.
        code_of: dict[str, int] = {}
        tokens = (code_of.setdefault(str(token), len(code_of)) for row in X for token in row)
        found = np.fromiter(tokens, dtype=np.int64, count=sum(lengths))
        words, place = sorted(code_of), np.empty(len(code_of), dtype=np.int64)
        place[[code_of[word] for word in words]] = np.arange(len(words))
        codes = place[found]
        counts = np.bincount(codes, minlength=len(words))
        kept = np.flatnonzero(counts >= self.min_count)
        if len(kept) < 2:
            raise ValueError(
                f"fewer than two words occur at least min_count={self.min_count} times; lower min_count or give "
                f"more tokens"
            )
        order = kept[np.argsort(-counts[kept], kind="stable")]
        rank = np.full(len(words), -1)
        rank[order] = np.arange(len(order))
        on = rank[codes] >= 0
        return _as_array([words[i] for i in order]), rank[codes][on], sentence[on]

    def _contexts(self, codes, sentence, at, n_words):
        """Unit vectors of the words at the offsets from some places `at`, side by side, within sentences."""
        rows, columns = [], []
        for slot, offset in enumerate(self._offsets):
            there = at + offset
            inside = (there >= 0) & (there < len(codes))
            inside[inside] = sentence[there[inside]] == sentence[at[inside]]
            rows.append(np.flatnonzero(inside))
            columns.append(slot * n_words + codes[there[inside]])
        i, j = np.concatenate(rows), np.concatenate(columns)
        return csr_array(coo_array((np.ones(len(i)), (i, j)), shape=(len(at), len(self._offsets) * n_words)))

    def _neighbours(self, codes, sentence):
        """Positions (i, j), i before j, of the words within a window, and their weights."""
        i, j, weight = [], [], []
        for d in range(1, self.window + 1):
            together = np.flatnonzero(sentence[:-d] == sentence[d:])
            i.append(together)
            j.append(together + d)
            share = (self.window + 1 - d) / self.window if self.dynamic else 1.0
            weight.append(np.full(len(together), share))
        i, j, weight = map(np.concatenate, (i, j, weight))
        if not len(i):
            raise ValueError(ALONE)
        return i, j, weight


def _as_array(words):
    """Words as an array of strings; of objects where one is so long that the array would be mostly empty."""
    longest = max(map(len, words), default=0)
    wide = longest * len(words) > max(MAX_PADDED, 2 * sum(map(len, words)))
    return np.array(words, dtype=object if wide else str)


def _against_nothing(weights, chosen, mass):
    """Lists of one column and the null candidate for every entry of `weights`, of which p chooses a part.

    Parameters
    ----------
    weights, chosen : csr_array of shape (n_rows, n_cols)
        Of one pattern.
    mass : ndarray of shape (n_rows,)
    """
    n_lists = weights.nnz
    p = chosen.data / weights.data
    edges = csr_array((p, weights.indices, np.arange(n_lists + 1)), shape=(n_lists, weights.shape[1]))
    rows = along_entries(np.arange(weights.shape[0]), weights)
    return ListConditional(edges, rows, weights.shape[0], 1.0 - p, weights.data, mass)
