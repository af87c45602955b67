"""Precision, recall, density and coverage: by hand, against loops, and their properties."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluate.prdc import PRDC, prdc


def direct(real, fake, k, density_k):
    """The definitions, pair by pair."""

    def distance(x, y):
        return sum((p - q) ** 2 for p, q in zip(x, y, strict=True))

    def radius(points, i, k):
        return sorted(distance(points[i], p) for j, p in enumerate(points) if j != i)[k - 1]

    real, fake = real.tolist(), fake.tolist()
    n, m = len(real), len(fake)
    across = [[distance(r, f) for f in fake] for r in real]
    of_real = [radius(real, i, k) for i in range(n)]
    of_fake = [radius(fake, j, k) for j in range(m)]
    dense = [radius(real, i, density_k) for i in range(n)]
    inside = [[across[i][j] <= dense[i] for j in range(m)] for i in range(n)]
    return PRDC(
        precision=sum(any(across[i][j] <= of_real[i] for i in range(n)) for j in range(m)) / m,
        recall=sum(any(across[i][j] <= of_fake[j] for j in range(m)) for i in range(n)) / n,
        density=sum(map(sum, inside)) / (density_k * m),
        coverage=sum(map(any, inside)) / n,
    )


def test_by_hand():
    # k = 1. Real 0, 1, 3, 7 have radii 1, 1, 2, 4; fake 2, 2.5, 20 have radii 0.5, 0.5, 17.5.
    real, fake = np.array([[0.0], [1], [3], [7]]), np.array([[2.0], [2.5], [20]])
    got = prdc(real, fake, k=1, density_k=1)
    assert got.precision == pytest.approx(2 / 3)  # all but 20
    # of the real ones 3 lies in B(2.5), and 3 and 7 in B(20)
    assert got.recall == pytest.approx(2 / 4)
    # 2 lies in the balls of 1 and 3, 2.5 in that of 3 only (7 reaches to 3): 3 pairs of 1 * 3
    assert got.density == pytest.approx(3 / 3)
    assert got.coverage == pytest.approx(2 / 4)  # those of 1 and 3


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(5, 20),
    m=st.integers(5, 20),
    k=st.integers(1, 4),
    density_k=st.integers(1, 4),
    block_size=st.integers(1, 25),
    single=st.booleans(),
)
def test_equals_the_definitions(seed, n, m, k, density_k, block_size, single):
    rng = np.random.default_rng(seed)
    kind = np.float32 if single else np.float64
    real = rng.integers(0, 6, (n, 2)).astype(kind)  # whole numbers: many ties, all of them exact
    fake = rng.integers(2, 8, (m, 2)).astype(kind)
    assert prdc(real, fake, k, density_k, block_size) == pytest.approx(
        direct(real, fake, k, density_k)
    )


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_identical_sets(kind):
    x = np.random.default_rng(0).normal(5.0, 1.0, (80, 40)).astype(kind)
    got = prdc(x, x.copy(), k=3, density_k=4, block_size=32)
    assert (got.precision, got.recall, got.coverage) == (1.0, 1.0, 1.0)
    # A ball holds its own centre and 4 neighbours: 5 / 4. The outermost lies on its edge, and in
    # float32 rounding, which depends on the block's shape, may leave it out.
    assert (1.0 if kind is np.float32 else 5 / 4 - 0.02) <= got.density <= 5 / 4


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(6, 30), st.integers(1, 5))
def test_identical_sets_with_copies(seed, n, k):
    x = np.random.default_rng(seed).integers(0, 2, (n, 2)).astype(float)  # radii of 0
    got = prdc(x, x[::-1].copy(), k=k)
    assert (got.precision, got.recall, got.coverage) == (1.0, 1.0, 1.0)
    assert got.density >= 1.0


def test_far_sets():
    x = np.random.default_rng(1).normal(size=(50, 6))
    assert prdc(x, x + 1000.0) == PRDC(0.0, 0.0, 0.0, 0.0)


def test_samples_of_one_distribution_have_density_near_one():
    x, y = np.random.default_rng(2).normal(size=(2, 600, 4))
    got = prdc(x, y)
    assert got.density == pytest.approx(1.0, abs=0.1)
    assert got.coverage > 0.9  # 1 - 2^-5 is expected


def test_a_model_of_few_kinds_is_precise_without_recall():
    real = np.random.default_rng(3).normal(size=(300, 4))
    fake = 0.1 * np.random.default_rng(4).normal(size=(300, 4))
    got = prdc(real, fake)
    assert got.precision > 0.9
    assert got.recall < 0.1
    assert got.density > 1.0
    assert got.coverage < 0.5
    turned = prdc(fake, real)
    assert (turned.precision, turned.recall) == (got.recall, got.precision)


def test_blocks_and_order_do_not_matter():
    rng = np.random.default_rng(5)
    real, fake = rng.normal(size=(90, 7)), 0.9 * rng.normal(size=(70, 7)) + 0.2
    whole = prdc(real, fake)
    assert prdc(real, fake, k=3, density_k=5, block_size=13) == whole  # the papers' neighbours
    assert prdc(rng.permutation(real), rng.permutation(fake)) == pytest.approx(whole)


def test_progress_ends_at_its_total():
    x = np.random.default_rng(6).normal(size=(30, 3))
    seen = []
    prdc(x, x[:20], block_size=8, progress=lambda *state: seen.append(state))
    assert seen == [(i, 11) for i in range(1, 12)]  # 4 blocks of reals twice, 3 of fakes


@pytest.mark.parametrize(
    ("sizes", "k", "words"),
    [
        ((5, 30), (3, 5), "6 or more real features, got 5"),
        ((30, 3), (3, 5), "4 or more fake features, got 3"),
        ((30, 30), (0, 5), "got 0 and 5"),
    ],
)
def test_unusable_input_is_refused(sizes, k, words):
    with pytest.raises(ValueError, match=words):
        prdc(np.eye(40)[: sizes[0]], np.eye(40)[: sizes[1]], *k)
