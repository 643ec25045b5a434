"""What comes next in a sequence: the views of its moments, what the mapper makes of them, and what is refused."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.signal import lfilter
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

import iconlearn
from iconlearn import ICONClassifier, ICONEmbedding, Term, recipes
from iconlearn.engines import MiniBatch
from iconlearn.mappers import Recurrent
from iconlearn.mappers._recurrent import RecurrentModule
from iconlearn.objective import Points
from iconlearn.supervisory import Ahead, Cooccurrence, Debias

X = np.random.default_rng(0).normal(size=(7, 15)).astype(np.float32)
ROWS = torch.as_tensor(X)
IMAGES, DIGITS = load_digits(return_X_y=True)
IMAGES = (IMAGES / 16).astype(np.float32)


def built(n_outputs=4, **parameters):
    spec = Recurrent(3, **{"hidden": 6, "encoder": (5,), "steps": 2, **parameters})
    return spec.build(15, n_outputs, 7, torch.Generator().manual_seed(0)).eval()


def test_position_r_is_a_moment_of_sequence_r_modulo_n():
    p = Ahead(3, ahead=2, first=1).fit(X)
    assert (p.copies, p.n_moments_) == (3, 3)
    np.testing.assert_array_equal(p.conditional_.sparse().toarray(), np.eye(21))
    rows = torch.tensor([0, 8, 20])
    seen, later = p.view(ROWS[rows % 7], rows).numpy(), p.columns_view(ROWS[rows % 7], rows).numpy()
    for r, row, step in zip(rows.tolist(), seen, later, strict=True):
        t = 1 + r // 7
        assert row[0] == t and step[0] == 2
        np.testing.assert_array_equal(row[1:], np.r_[X[r % 7, : 3 * t], np.zeros(15 - 3 * t)])
        np.testing.assert_array_equal(step[1:], X[r % 7, 3 * (t + 1) : 3 * (t + 2)])


def test_states_are_those_of_torch_and_do_not_look_ahead():
    module, p = built(), Ahead(3, first=1).fit(X)
    codes = torch.relu(module.encoder[0](ROWS.reshape(7, 5, 3)))
    states = module.gru(codes)[0]
    torch.testing.assert_close(module.states(ROWS), states)
    for t in range(1, 5):
        rows = torch.arange(7) + 7 * (t - 1)
        torch.testing.assert_close(module(p.view(ROWS, rows)), module.head(states[:, t - 1]))
        whole = torch.cat([torch.full((7, 1), float(t)), ROWS], dim=1)
        torch.testing.assert_close(module(whole), module.head(states[:, t - 1]))
    torch.testing.assert_close(module(ROWS), module.head(states[:, -1]))
    mean = built(pool="mean")
    torch.testing.assert_close(mean(ROWS), module.head(states).mean(1))
    bare = built(6, hidden=None)
    torch.testing.assert_close(
        bare(ROWS), bare.gru(torch.relu(bare.encoder[0](ROWS.reshape(7, 5, 3))))[0][:, -1]
    )
    for k in (1, 2):
        step = torch.cat([torch.full((7, 1), float(k)), ROWS[:, :3]], dim=1)
        W = module.ahead.weight[4 * (k - 1) : 4 * k]
        torch.testing.assert_close(module(step), codes[:, 0] @ W.T)


def test_one_pass_over_a_sequence_serves_all_its_moments():
    module, p = built(), Ahead(3, first=1, whole=True).fit(X)
    points = Points(module, 28, ROWS, view=p.view, moments=p.moments)
    rows = torch.tensor([27, 3, 10, 17, 6, 24])
    for at in (rows, None):
        found, slopes = [], []
        for ends in (points, replace(points, moments=None)):
            out = ends.at(at)
            found.append(out)
            slopes.append(torch.autograd.grad(out.square().sum(), list(module.gru.parameters())))
        torch.testing.assert_close(*found)
        torch.testing.assert_close(*slopes)
    steps, losses, forward = [], [], nn.GRU.forward

    def counted(self, codes):
        steps[-1] += codes.shape[0] * codes.shape[1]
        return forward(self, codes)

    # All 240 moments are in one batch either way, and all that a fit passes besides is the same.
    options = {"engine": MiniBatch(400), "max_iter": 1, "random_state": 0}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nn.GRU, "forward", counted)
        for whole in (True, False):
            steps.append(0)
            model = recipes.cpc(step=8, steps=1, whole=whole, **options).fit(IMAGES[:40])
            losses.append(model.loss_history_[0])
    assert steps[1] - steps[0] == 8 * (240 - 40) and losses[0] == pytest.approx(losses[1], rel=1e-6)


def test_batches_are_made_of_whole_sequences():
    seen = []
    with pytest.MonkeyPatch.context() as patch:
        forward = RecurrentModule.after
        patch.setattr(RecurrentModule, "after", lambda *args: (seen.append(args[1:]), forward(*args))[1])
        options = {"engine": MiniBatch(64), "max_iter": 1, "random_state": 0}
        recipes.cpc(step=8, steps=1, whole=True, **options).fit(IMAGES[:40])
    assert [len(which) for _, which, _ in seen] == [60, 60, 60, 60]
    assert all(len(found) == 10 for found, _, _ in seen)
    shown = np.concatenate([found[which].cpu().numpy() for found, which, _ in seen])
    np.testing.assert_array_equal(np.unique(shown, axis=0, return_counts=True)[1], 6)


def test_gradients_reach_the_encoder_from_both_ends():
    module, p = built(), Ahead(3).fit(X)
    rows = torch.arange(7)
    contexts, steps = module(p.view(ROWS, rows)), module(p.columns_view(ROWS, rows))
    for one, other in ((contexts, steps.detach()), (contexts.detach(), steps)):
        (slope,) = torch.autograd.grad((one @ other.T).sum(), module.encoder[0].weight, retain_graph=True)
        assert slope.abs().max() > 1e-4


def test_a_module_may_read_the_steps():
    encoder = nn.Sequential(nn.Unflatten(1, (1, 3)), nn.Conv1d(1, 4, 2), nn.Flatten(), nn.Tanh())
    before = encoder[1].weight.clone()
    module = built(encoder=encoder)
    assert module.gru.input_size == 8
    torch.testing.assert_close(
        module.states(ROWS), module.gru(encoder(ROWS.reshape(35, 3)).reshape(7, 5, 8))[0]
    )
    ICONEmbedding(4, p=Ahead(3), q="dot", mapper=Recurrent(3, encoder=encoder), max_iter=2).fit(X)
    torch.testing.assert_close(encoder[1].weight, before)


def test_what_is_no_sequence_is_refused_in_a_sentence():
    for fit in (Ahead(4).fit, recipes.cpc(step=4).fit):
        with pytest.raises(ValueError, match="step=4 does not divide the 15 numbers of a row"):
            fit(X)
    with pytest.raises(ValueError, match="step=4 does not divide"):
        ICONClassifier(mapper=Recurrent(4)).fit(X, np.arange(7) % 2)
    with pytest.raises(
        ValueError, match=r"first=3 and ahead=3 need sequences of at least 6 steps, .* are 5 of step=3"
    ):
        recipes.cpc(step=3, first=3).fit(X)
    with pytest.raises(
        ValueError, match=r"a step 2 ahead, and the mapper has matrices for 1: use Recurrent\(steps=2"
    ):
        ICONEmbedding(4, p=Ahead(3, ahead=2), q="dot", mapper=Recurrent(3)).fit(X)
    with pytest.raises(ValueError, match="at least three steps"):
        Recurrent(5).build(10, 2, 7, torch.Generator())
    with pytest.raises(ValueError, match="cannot read steps of 3 numbers"):
        built(encoder=nn.Linear(4, 2))
    with pytest.raises(ValueError, match=r"returned \(2, 1, 3\) for two steps"):
        built(encoder=nn.Unflatten(1, (1, 3)))
    with pytest.raises(ValueError, match="pool='max'"):
        built(pool="max")
    with pytest.raises(ValueError, match="the mapper cannot read the views"):
        ICONEmbedding(4, p=Ahead(3), q="dot", mapper="mlp").fit(X)
    with pytest.raises(TypeError, match="whole='yes' of Ahead must be True or False"):
        Ahead(3, whole="yes").fit(X)
    for wrong in ({"ahead": 0}, {"first": 0}, {"step": 0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            Ahead(**{"step": 3, **wrong}).fit(X)


def test_moments_are_counted_by_what_is_made_of_them():
    p = Debias(Ahead(3, first=1), 0.2)
    model = ICONEmbedding(4, p=p, q="dot", mapper=Recurrent(3, steps=2), terms=[Term(Ahead(3, 2))])
    model.set_params(engine=MiniBatch(16), max_iter=3, random_state=0).fit(X)
    assert model.p_.copies == 4 and model.embedding_.shape == (7, 4)


@pytest.mark.parametrize("hidden", [None, 5])
def test_models_of_sequences_are_stored(hidden, tmp_path):
    model = recipes.cpc(step=8, hidden=6, pool="mean", max_iter=2, random_state=0)
    model.set_params(mapper__hidden=hidden).fit(IMAGES[:40])
    iconlearn.save(model, tmp_path / "model.icon")
    for back in (iconlearn.load(tmp_path / "model.icon"), pickle.loads(pickle.dumps(model))):
        np.testing.assert_array_equal(back.transform(IMAGES[:40]), model.embedding_)
        rows = torch.arange(3)
        seen = back.p_.view(torch.as_tensor(IMAGES[:3]), rows)
        torch.testing.assert_close(back.mapper_(seen), model.mapper_(seen))
    clone(model.p_).fit(IMAGES[:40])


def probe(train, labels, new, truth):
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=3000))
    return model.fit(train, labels).score(new, truth)


def test_digits_as_eight_rows_of_pixels():
    # 0.944 and 0.790; an untrained network 0.875 and 0.582, the pixels 0.963 and 0.834.
    train, new, labels, truth = train_test_split(
        IMAGES, DIGITS, test_size=0.5, random_state=0, stratify=DIGITS
    )
    model = recipes.cpc(step=8, steps=2, pool="mean", max_iter=15, random_state=0).fit(train)
    known, seen = model.embedding_, model.transform(new)
    assert probe(known, labels, seen, truth) >= 0.90
    scale = StandardScaler().fit(known)
    known, seen, scores = scale.transform(known), scale.transform(seen), []
    for draw in map(np.random.default_rng, range(5)):
        few = np.concatenate([draw.permutation(np.flatnonzero(labels == c))[:5] for c in range(10)])
        scores.append(LogisticRegression().fit(known[few], labels[few]).score(seen, truth))
    assert np.mean(scores) >= 0.72


def voices(n_each, seed, n_numbers=256):
    """Noise through two resonances, of which twelve speakers have their own, and every sound moves a little."""
    rng, sounds = np.random.default_rng(seed), []
    for speaker in np.repeat(np.arange(12), n_each):
        sound = rng.standard_normal(n_numbers + 100)
        for angle, radius in ((0.3 + 0.2 * (speaker % 4), 0.95), (1.3 + 0.55 * (speaker // 4), 0.93)):
            angle *= 1 + 0.04 * rng.standard_normal()
            sound = lfilter([1], [1, -2 * radius * np.cos(angle), radius**2], sound)
        sounds.append(sound[100:] / sound[100:].std())
    return np.array(sounds, dtype=np.float32), np.repeat(np.arange(12), n_each)


def test_speakers_are_told_by_frames_of_their_sounds():
    # 0.983; raw waves 0.158, an untrained network 0.817, log spectra 0.988.
    (train, labels), (new, truth) = voices(40, 0), voices(20, 1)
    model = recipes.cpc(
        step=16, steps=1, first=4, pool="mean", max_iter=10, learning_rate=3e-3, random_state=0
    )
    model.set_params(engine__batch_size=128).fit(train)
    assert probe(train, labels, new, truth) < 0.3
    assert probe(model.embedding_, labels, model.transform(new), truth) >= 0.95


def test_a_recurrent_classifier():
    model = ICONClassifier(mapper=Recurrent(8), max_iter=15, engine=MiniBatch(128), random_state=0)
    assert model.fit(IMAGES[:900], DIGITS[:900]).score(IMAGES[900:], DIGITS[900:]) > 0.85


LINES = [line.split() for line in ("a b c d", "c b a e", "b c d a e", "e")]


@pytest.mark.parametrize("mode", ["next", "masked"])
def test_contexts_keep_the_order_of_words(mode):
    p = Cooccurrence(2, mode=mode)
    contexts, codes, words = p.prepare(LINES)
    assert list(words) == ["a", "b", "c", "e", "d"]
    offsets = (-2, -1) if mode == "next" else (-2, -1, 1, 2)
    places = contexts.toarray().reshape(len(codes), len(offsets), 5)
    k = 0
    for line in LINES:
        for t, word in enumerate(line):
            around = [line[t + d] if 0 <= t + d < len(line) else "" for d in offsets]
            if not any(around):
                continue
            np.testing.assert_array_equal(places[k], [[w == other for w in words] for other in around])
            assert words[codes[k]] == word
            k += 1
    assert k == len(codes)
    new = p.rows_of([["x", "a", "x", "b", "[MASK]", "c", "e"], [], ["b"]], words).toarray()
    expected = [["a", "b"], ["", ""], ["", "b"]]
    if mode == "masked":
        expected = [["a", "b", "c", "e"], [""] * 4, ["", "b", "", ""]]
    else:
        expected[0] = ["c", "e"]
    shown = [[[w == other for w in words] for other in row] for row in expected]
    np.testing.assert_array_equal(new, np.reshape(np.array(shown, dtype=float), new.shape))


def test_a_recurrent_mapper_reads_sentences():
    rng = np.random.default_rng(0)
    # What comes next follows from the last two words in their order, and from no bag of them.
    after = {(a, b): (a - b) % 5 for a in range(5) for b in range(5)}
    lines = []
    for _ in range(60):
        line = list(rng.integers(0, 5, 2))
        while len(line) < 8:
            line.append(after[line[-2], line[-1]] if rng.random() < 0.9 else rng.integers(5))
        lines.append([f"w{k}" for k in line])
    model = ICONEmbedding(
        16, p=Cooccurrence(4, mode="next"), q="dot", mapper=Recurrent(5, 32), engine=MiniBatch(64), max_iter=40,
        learning_rate=1e-2, random_state=0,
    ).fit(lines)  # fmt: skip
    pairs = [(a, b) for a in range(5) for b in range(5)]
    guess = (model.transform([[f"w{a}", f"w{b}"] for a, b in pairs]) @ model.column_embedding_.T).argmax(1)
    said = [model.vocabulary_[k] == f"w{after[pair]}" for k, pair in zip(guess, pairs, strict=True)]
    assert np.mean(said) >= 0.9
    assert iconlearn.words.word_vectors(model).shape == (5, 16)


def test_contexts_need_tokens_and_neighbours():
    with pytest.raises(ValueError, match=r"Cooccurrence\(mode='next'\) needs tokens"):
        Cooccurrence(mode="next").fit(np.ones((3, 4)))
    with pytest.raises(ValueError, match="no two tokens stand in one window"):
        Cooccurrence(mode="masked").prepare([["a"], ["b"]])
    p = Cooccurrence(2, mode="next")
    contexts, codes, _ = p.prepare(LINES)
    with pytest.raises(ValueError, match="no p for new contexts"):
        p.fit(contexts, codes).extend(contexts)
