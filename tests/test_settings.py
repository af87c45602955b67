"""The published settings, the presets made from them, and trials' seeds."""

from __future__ import annotations

import pytest

from experiments import presets
from experiments.errors import UserError
from experiments.settings import differences, trial_seed


def test_paper_preset_is_the_published_schedule():
    """Typed again from the paper's facts, not read from the presets."""
    epochs = {
        "mnist": (400, 800),
        "fashion_mnist": (400, 800),
        "cifar10": (1000, 2000),
        "celeba": (400, 800),
    }
    for dataset, (first, second) in epochs.items():
        s = presets.resolve("paper", dataset)
        assert (s.epochs, s.second_epochs) == (first, second)
        assert (s.batch_size, s.learning_rate, s.latent_dim) == (64, 1e-4, 64)
        assert (s.momentum, s.initial_log_gamma, s.gamma_speed) == (0.999, 0.0, 1.0)
        assert (s.n_fake, s.n_real) == (10_000, 10_000)
        assert s.source == s.dataset == dataset
        assert s.jpeg == (dataset == "cifar10")
        halve = (300, 600) if dataset == "cifar10" else (150, 300)
        assert (s.halve_every, s.second_halve_every) == halve
    table2 = presets.resolve("paper", "celeba140")
    assert (table2.network, table2.epochs, table2.second_epochs) == ("wae", 70, 70)
    assert (table2.halve_every, table2.second_halve_every) == (30, 30)
    assert presets.PAPER_OPTIONS == {
        "vae-flow": {1: (("length", 10),), 3: (("length", 10),)},
        "wae-mmd": {
            1: (("reconstruction_weight", 0.05), ("penalty_weight", 10.0)),
            3: (("reconstruction_weight", 0.2), ("penalty_weight", 100.0)),
        },
    }


def test_lite_is_a_tenth_with_full_scoring():
    for dataset in presets.DATASETS:
        paper, lite = (presets.resolve(p, dataset) for p in ("paper", "lite"))
        assert lite.epochs * 10 == paper.epochs
        assert lite.second_epochs * 10 == paper.second_epochs
        assert lite.halve_every / lite.epochs == paper.halve_every / paper.epochs
        assert lite.n_fake == 10_000
        assert lite.source == paper.source


def test_quick_uses_bundled_data_under_names_that_say_so():
    names = [presets.resolve("quick", d).dataset for d in presets.DATASETS]
    standins = ["cifar10-standin", "celeba-standin", "celeba140-standin"]
    assert names == ["mnist", "fashion_mnist", *standins]
    sources = [presets.resolve("quick", d).source for d in presets.DATASETS]
    assert all(s.endswith(("-sample", "-standin")) for s in sources)


def test_unknown_names():
    with pytest.raises(UserError, match=r"unknown preset 'slow': expected one of quick, lite"):
        presets.resolve("slow", "mnist")
    with pytest.raises(UserError, match=r"unknown data set 'svhn': expected one of mnist"):
        presets.resolve("paper", "svhn")


def test_trials_of_neighbouring_seeds_do_not_coincide():
    seeds = [trial_seed(seed, trial) for seed in range(20) for trial in range(20)]
    assert len(set(seeds)) == len(seeds)
    assert trial_seed(7, 0) == 7


def test_differences_name_the_field():
    s = presets.resolve("paper", "mnist")
    assert differences(s.to_dict(), s.to_dict()) == []
    assert differences(s.to_dict(), s.replace(epochs=3).to_dict()) == ["epochs: 400 -> 3"]
    assert "n_fake" in s.to_dict()
    assert s.training_dict() == s.replace(n_fake=7).training_dict()


def test_a_missing_field_has_its_default():
    """Settings written before a field was added are those of a run with its default."""
    s = presets.resolve("paper", "mnist")
    for old in ("gamma", "options", "network_options", "seed"):
        before = {k: v for k, v in s.to_dict().items() if k != old}
        assert differences(before, s.to_dict()) == []
        assert differences(s.to_dict(), before) == []
    before = {k: v for k, v in s.to_dict().items() if k != "gamma"}
    changed = s.replace(gamma="optimal").to_dict()
    assert differences(before, changed) == ["gamma: 'learned' -> 'optimal'"]
    before = {k: v for k, v in s.to_dict().items() if k != "epochs"}  # has no default
    assert differences(before, s.to_dict()) == ["epochs: None -> 400"]


@pytest.mark.parametrize(
    ("model", "epochs", "schedule"),
    [
        ("vae-fixed-gamma", 1, "1 epoch"),
        ("vae-fixed-gamma", 2, "2 epochs"),
        ("two-stage", 1, "1 + 1 epochs"),
    ],
)
def test_the_schedule_in_words(model, epochs, schedule):
    settings = presets.resolve("paper", "mnist").replace(
        model=model, epochs=epochs, second_epochs=1
    )
    assert settings.schedule == schedule
