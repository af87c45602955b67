"""Table 3's fields and the latent space's pictures, on a model simple enough to follow."""

from __future__ import annotations

import types

import numpy as np
import pytest

from evaluate import figures, latent
from experiments import presets
from training import latents

KAPPA = 8


class Stub:
    """Images are codes: encoding takes the first pixels, decoding gives z back; u is z + 1."""

    def encode(self, images, progress=None):
        mu = np.asarray(images, "float32").reshape(len(images), -1)[:, :KAPPA]
        return mu, np.full_like(mu, 0.5)

    first = types.SimpleNamespace(decode=lambda z: z)
    second = types.SimpleNamespace(
        encode=lambda z: (z + 1, np.full_like(z, 0.25)), decode=lambda u: u - 1
    )


def test_each_row_of_table_3_is_about_its_own_samples():
    rng = np.random.default_rng(0)
    z, u = 2.0 * rng.standard_normal((300, KAPPA)), rng.standard_normal((300, KAPPA))
    sd = np.ones((300, KAPPA))
    sd[:, :3] = 0.1
    samples = latents.LatentSamples(np.where(sd < 1, z, 0.0), sd, z, u)
    fields = latents.table3(samples, seed=7)
    assert fields["mmd_z"] == latent.prior_mmd(z, 7).mmd
    assert fields["mmd_u"] == latent.prior_mmd(u, 7).mmd
    assert fields["mmd_z"] > 10 * abs(fields["mmd_u"])
    assert fields["mmd_n"] == 300
    assert fields["active_dimensions"] == 3
    assert abs(fields["mmd_floor"]) < 3 * fields["mmd_floor_std"]


def test_samples_are_drawn_from_both_posteriors():
    images = np.random.default_rng(1).normal(size=(4000, KAPPA))
    found = latents.latent_samples(Stub(), images, seed=3)
    np.testing.assert_allclose(found.mu_z, images, rtol=1e-6)
    assert np.std(found.z - found.mu_z) == pytest.approx(0.5, rel=0.05)
    assert np.std(found.u - (found.z + 1)) == pytest.approx(0.25, rel=0.05)
    noises = (found.z - found.mu_z).ravel(), (found.u - (found.z + 1)).ravel()
    assert abs(np.corrcoef(*noises)[0, 1]) < 0.05
    again = latents.latent_samples(Stub(), images, seed=3)
    np.testing.assert_array_equal(found.u, again.u)


def test_strips_move_the_smallest_variances_first_and_the_largest_last():
    variances = np.array([0.9, 0.1, 0.5, 0.2, 1.0, 0.3, 0.95, 0.6])
    image = np.arange(KAPPA, dtype="float32")[None]
    strips = latents._strips(Stub(), image, variances, np.random.default_rng(0))
    assert [caption for caption, _ in strips] == [
        f"variance {v:.2g}" for v in (0.1, 0.2, 0.3, 0.9, 0.95, 1.0)
    ]
    for (_, codes), moved in zip(strips, (1, 3, 5, 0, 6, 4), strict=True):
        assert codes.shape == (latents.DRAWS, KAPPA)
        varied = np.ptp(codes, axis=0) > 0
        assert np.flatnonzero(varied).tolist() == [moved]
        np.testing.assert_array_equal(codes[:, ~varied], np.repeat(image, 8, 0)[:, ~varied])


def test_interpolations_go_from_one_code_to_the_other():
    starts, ends = np.zeros((2, KAPPA)), np.stack([np.ones(KAPPA), np.arange(KAPPA)])
    made = latents.interpolate(Stub(), starts, ends, 5)
    assert made.shape == (2, 5, KAPPA)
    np.testing.assert_allclose(made[:, 0], starts, atol=1e-6)
    np.testing.assert_allclose(made[:, -1], ends, atol=1e-6)
    np.testing.assert_allclose(made[:, 2], ends / 2, atol=1e-6)


def test_spectra_are_those_of_their_own_samples(tmp_path, monkeypatch):
    drawn = {}
    monkeypatch.setattr(figures, "spectra", lambda curves, path: drawn.update(curves))
    for other in ("posterior_variances", "interpolations", "neighbours"):
        monkeypatch.setattr(figures, other, lambda *args: None)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (20, 4, 4, 1), dtype=np.uint8)
    model = Stub()
    model.sample = lambda n, seed: np.zeros((n, 4, 4, 1))
    samples = latents.latent_samples(model, images, seed=0)
    latents.draw(model, samples, images, images, tmp_path, seed=0)
    np.testing.assert_allclose(drawn["Z"], np.linalg.svd(samples.z, compute_uv=False), rtol=1e-6)
    np.testing.assert_allclose(drawn["U"], np.linalg.svd(samples.u, compute_uv=False), rtol=1e-6)
    assert drawn["Gaussian"].shape == (KAPPA,)


def test_what_is_computed_once_is_not_computed_again(tmp_path, monkeypatch):
    settings = presets.resolve("quick", "mnist").replace(n_fake=12)
    images = np.random.default_rng(0).integers(0, 256, (20, 4, 4, 1), dtype=np.uint8)
    monkeypatch.setattr(latents, "draw", lambda *args: {})
    digest = ["a"]
    monkeypatch.setattr(latents, "weights_digest", lambda model: digest[0])
    seen = []
    table3 = latents.table3
    monkeypatch.setattr(latents, "table3", lambda *args: seen.append(args) or table3(*args))
    found = [latents.study(Stub(), settings, images, images, tmp_path)[0] for _ in range(2)]
    assert found[0] == found[1]
    assert found[0]["mmd_n"] == 12
    assert len(seen) == 1
    digest[0] = "b"
    latents.study(Stub(), settings, images, images, tmp_path)
    assert len(seen) == 2
