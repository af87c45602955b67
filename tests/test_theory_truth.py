"""The theory's ground truths and instruments, without training."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from theory import closed_form, density, manifolds, twosample
from theory.manifolds import CLOSED, MANIFOLDS, MEASURES, ground_truth

CASES = [
    ("linear", 3, 10),
    ("curved", 1, 10),
    ("curved", 5, 20),
    ("punctured-sphere", 2, 10),
    ("swiss-roll", 2, 10),
    ("torus", 2, 10),
    ("sphere", 2, 10),
    ("identity", 2, 2),
]


@pytest.mark.parametrize(("name", "r", "d"), CASES)
def test_a_manifold_has_its_dimension_everywhere(name, r, d):
    manifold = MANIFOLDS[name](r, d, seed=3)
    t = np.random.default_rng(0).uniform(-2, 2, (50, r))
    x = manifold.embed(t)
    assert x.shape == (50, d)
    assert np.linalg.matrix_rank(manifold.jacobian(t), tol=1e-4).tolist() == [r] * 50
    assert manifold.open == (name not in CLOSED)


@pytest.mark.parametrize(("name", "r", "d"), [c for c in CASES if c[0] not in CLOSED])
def test_projection_undoes_embedding_and_finds_the_distance(name, r, d):
    manifold = MANIFOLDS[name](r, d, seed=3)
    rng = np.random.default_rng(1)
    t, near = rng.uniform(-1.5, 1.5, (40, r)), rng.uniform(-2, 2, (4000, r))
    x = manifold.embed(t)
    found, distance = manifold.project(x, near)
    np.testing.assert_allclose(found, t, atol=1e-4)
    assert distance.max() < 1e-4
    if d == r:
        return
    # A step along the normal space is the distance, and leads back to where it started.
    jacobian = manifold.jacobian(t)
    step = rng.standard_normal((40, d, 1))
    tangent = jacobian @ np.linalg.solve(
        jacobian.transpose(0, 2, 1) @ jacobian, jacobian.transpose(0, 2, 1) @ step
    )
    normal = (step - tangent)[..., 0]
    normal *= 0.02 / np.linalg.norm(normal, axis=1, keepdims=True)
    found, distance = manifold.project(x + normal, near)
    np.testing.assert_allclose(distance, 0.02, rtol=1e-3)
    np.testing.assert_allclose(found, t, atol=1e-3)


def test_manifolds_lie_where_they_should():
    t = np.random.default_rng(0).standard_normal((30, 2))
    for name in ("punctured-sphere", "sphere"):
        np.testing.assert_allclose(
            np.linalg.norm(MANIFOLDS[name](2, 10).embed(t), axis=1), 1, rtol=1e-12
        )
    torus = MANIFOLDS["torus"](2, 10).embed(t)
    np.testing.assert_allclose((torus**2).sum(1), 2, rtol=1e-12)
    np.testing.assert_allclose(MANIFOLDS["torus"](2, 10).embed(t + 2 * math.pi), torus, atol=1e-12)
    # Linear: an isometry.
    x = MANIFOLDS["linear"](2, 10).embed(t)
    np.testing.assert_allclose(x @ x.T, t @ t.T, atol=1e-12)
    # Curved: the off-plane part has total variance r (d - r) / d.
    t = np.random.default_rng(1).standard_normal((20_000, 2))
    x = MANIFOLDS["curved"](2, 10, seed=5).embed(t)
    assert x.var(0).sum() == pytest.approx(2 + 2 * 8 / 10, rel=0.05)


def test_uniform_on_the_sphere_is_uniform():
    x, _ = ground_truth("sphere", "uniform-sphere", 2, 3).sample(20_000, 0)
    # Archimedes: every coordinate is uniform on [-1, 1].
    for column in x.T:
        assert stats.kstest(column, stats.uniform(-1, 2).cdf).pvalue > 1e-4


@pytest.mark.parametrize("name", ["gaussian", "skewed", "mixture", "hole"])
@pytest.mark.parametrize("r", [1, 2])
def test_densities_integrate_to_one_and_are_the_draws_own(name, r):
    measure = MEASURES[name](r)
    p = density.true_density(measure)
    assert density.integral(p) == pytest.approx(1, abs=2e-3)
    draws = measure.sample(40_000, 0)
    # E[-log p] over draws is the entropy only if the draws have that density.
    assert -measure.log_density(draws).mean() == pytest.approx(density.entropy(p), abs=0.03)
    grid = density.axis(r)
    marginal = p if r == 1 else p.sum(1) * (grid[1] - grid[0])
    assert draws[:, 0].mean() == pytest.approx(
        (marginal * grid).sum() * (grid[1] - grid[0]), abs=0.02
    )


def test_skewed_has_mean_0_and_variance_1():
    t = MEASURES["skewed"](1).sample(100_000, 0)[:, 0]
    assert t.mean() == pytest.approx(0, abs=0.02)
    assert t.var() == pytest.approx(1, abs=0.03)
    assert stats.skew(t) == pytest.approx(-1.54, abs=0.1)


@pytest.mark.parametrize("kappa", [1, 2, 3])
def test_the_priors_nodes_are_a_standard_normal(kappa):
    z, weights = density.prior_nodes(kappa)
    assert z.shape[1] == kappa
    assert weights.sum() == pytest.approx(1)
    np.testing.assert_allclose(weights @ z, 0, atol=1e-3)
    np.testing.assert_allclose((z * weights[:, None]).T @ z, np.eye(kappa), atol=2e-3)


def test_quadrature_gives_the_density_of_a_linear_decoder():
    # z ~ N(0, 1), x = a z + gamma eps: x ~ N(0, a^2 + gamma^2).
    z, weights = density.prior_nodes(1)
    p = density.mixture_density(1.2 * z, weights, 0.3)
    true = stats.norm(0, math.hypot(1.2, 0.3)).pdf(density.axis(1))
    np.testing.assert_allclose(p, true, atol=2e-4)
    # kappa = 3 above d = 2: the covariance is A A^T + gamma^2 I.
    z, weights = density.prior_nodes(3)
    a = np.array([[0.9, 0.2], [0.1, 0.7], [0.3, -0.4]])
    p = density.mixture_density(z @ a, weights, 0.4)
    grid = np.stack(np.meshgrid(*[density.axis(2)] * 2, indexing="ij"), -1)
    true = stats.multivariate_normal([0, 0], a.T @ a + 0.16 * np.eye(2)).pdf(grid)
    np.testing.assert_allclose(p, true, atol=1e-3)


def test_divergence_of_two_gaussians():
    line = density.axis(1)
    p, q = stats.norm(0, 1).pdf(line), stats.norm(0.5, 1.5).pdf(line)
    expected = math.log(1.5) + (1 + 0.25) / (2 * 1.5**2) - 0.5
    assert density.kl_divergence(p, q) == pytest.approx(expected, abs=1e-5)
    assert density.entropy(p) == pytest.approx(0.5 * math.log(2 * math.pi * math.e), abs=1e-5)
    assert density.best_gaussian_kl(p) == pytest.approx(0, abs=1e-5)


def test_energy_distance_by_hand():
    a, b = np.array([[0.0], [2.0]]), np.array([[1.0]])
    # 2 * 1 - (0 + 2 + 2 + 0) / 4 - 0
    assert twosample.energy_distance(a, b) == pytest.approx(1.0)
    # E = 2 integral (F - G)^2, SciPy's energy distance is its root.
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal(60), rng.standard_normal(80) + 0.3
    assert twosample.energy_distance(a[:, None], b[:, None]) == pytest.approx(
        stats.energy_distance(a, b) ** 2
    )


def test_the_two_sample_test_holds_its_level_and_has_power():
    rng = np.random.default_rng(0)
    null = [
        twosample.energy_test(*rng.standard_normal((2, 40, 2)), seed=i, permutations=99)[1]
        for i in range(400)
    ]
    # Valid: p <= 0.05 in at most one of twenty, up to chance (sd 0.011).
    assert np.mean(np.array(null) <= 0.05) < 0.09
    assert np.mean(null) == pytest.approx(0.5, abs=0.06)
    far = [
        twosample.energy_test(
            rng.standard_normal((40, 2)), 1 + rng.standard_normal((40, 2)), i, 99
        )[1]
        for i in range(20)
    ]
    assert np.median(far) <= 0.02


def test_repeated_tests_take_their_median_and_want_enough_rows():
    rng = np.random.default_rng(1)
    a, b = rng.standard_normal((2, 300, 1))
    found = twosample.repeated_test(a, b, 0, n=60, repeats=5)
    assert 0.05 < found.p <= 1
    assert found.rejected <= 0.4
    with pytest.raises(ValueError, match="300 rows"):
        twosample.repeated_test(a[:200], b, 0, n=60, repeats=5)


def test_closed_form_is_probabilistic_pca():
    eigenvalues = np.array([2.0, 0.5, 0.0, 0.0])
    # gamma above every eigenvalue: all variance is noise.
    expected = 0.5 * (4 * math.log(2 * math.pi * 4) + 2.5 / 4)
    assert closed_form.optimal_cost(eigenvalues, 2, 2.0) == pytest.approx(expected)
    # Small gamma: the model's Gaussian is the data's, of entropy 1/2 log det, plus the noise's.
    g = 0.01
    expected = 0.5 * (
        4 * math.log(2 * math.pi) + math.log(2.0) + math.log(0.5) + 2 * math.log(g**2) + 2
    )
    assert closed_form.optimal_cost(eigenvalues, 2, g) == pytest.approx(expected)
    # The slope in log g is d - r.
    slope = closed_form.optimal_cost(eigenvalues, 3, g) - closed_form.optimal_cost(
        eigenvalues, 3, g / math.e
    )
    assert slope == pytest.approx(4 - 2)
    assert closed_form.optimal_gamma(eigenvalues, 1) == pytest.approx(math.sqrt(0.5 / 3))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("cube", "gaussian", 2, 10), "manifold"),
        (("linear", "cauchy", 2, 10), "measure"),
        (("curved", "gaussian", 5, 5), "above r"),
        (("swiss-roll", "gaussian", 1, 5), "r = 2"),
        (("torus", "uniform-torus", 3, 5), "does not fit"),
    ],
)
def test_impossible_ground_truths_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        ground_truth(*arguments)


def test_the_same_seed_gives_the_same_truth():
    a, b = (manifolds.curved(2, 10, seed=s).embed(np.ones((1, 2))) for s in (1, 1))
    np.testing.assert_array_equal(a, b)
    assert not np.allclose(a, manifolds.curved(2, 10, seed=2).embed(np.ones((1, 2))))
