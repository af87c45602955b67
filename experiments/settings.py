"""What one training run needs to know, resolved before anything starts; nothing is implied."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

CHECKPOINT_SECONDS = 60.0  # between two checkpoints
SCORING_FIELDS = ("n_fake", "n_real")
# Ablations of the second stage; the first is that of the two-stage run.
SECOND_STAGE_ABLATIONS = ("two-stage-no-skip", "two-stage-fixed-z", "two-stage-pythae-like")
WITHOUT_GAMMA = ("vae-cross-entropy", "wae-mmd")  # methods whose decoder has no noise of its own
RENORMALISED = "-renormalised"  # rows sampled with the variances of q(z), models.renormalised
# What --gamma may be, and the rows that a two-stage run gives with it, first stage and second.
GAMMAS = {
    "learned": ("vae-learned-gamma", "two-stage"),
    "optimal": ("vae-optimal-gamma", "two-stage-optimal-gamma"),
}


@dataclass(frozen=True)
class RunSettings:
    """One training run and the scoring of what it gives.

    A run of the model "two-stage" gives two rows of the paper's tables: "VAE (learned gamma)" is
    its first stage sampled with z ~ N(0, I). Every other model gives the row of its own name. With
    the optimal gamma, which the paper does not have, the two rows have names of their own.
    """

    preset: str  # quick, lite or paper
    dataset: str  # its name in tables and folders
    source: str  # what data.load is asked for
    image_shape: tuple[int, int, int]  # (h, w, c)
    network: str
    latent_dim: int  # kappa
    epochs: int  # first stage
    second_epochs: int
    halve_every: int  # epochs between halvings of the learning rate, first stage
    second_halve_every: int
    batch_size: int  # the incomplete last batch of an epoch is dropped
    learning_rate: float  # Adam's, at the start
    momentum: float  # decay of the batch normalisation's moving averages
    initial_log_gamma: float  # of both stages' gammas
    gamma_speed: float  # see models.VAE; the paper's is 1
    jpeg: bool  # images pass once through JPEG before use, as the authors' CIFAR-10 did
    n_fake: int  # generated images scored
    n_real: int  # test images scored against, at most
    model: str = "two-stage"  # what models.build is asked for
    network_options: tuple[tuple[str, int], ...] = ()  # the network's own, by name
    options: tuple[tuple[str, float], ...] = ()  # the model's own, by name
    trial: int = 0
    seed: int = 0
    gamma: str = "learned"  # or "optimal", see models.VAE; for models that learn theirs

    def replace(self, **changes) -> RunSettings:
        """A copy with some fields changed."""
        return dataclasses.replace(self, **changes)

    def to_dict(self) -> dict:
        """Plain JSON types, for the run's settings.json."""
        fields = dataclasses.asdict(self)
        fields["image_shape"] = list(self.image_shape)
        for name in ("network_options", "options"):
            fields[name] = dict(getattr(self, name))
        return fields

    def training_dict(self) -> dict:
        """``to_dict`` without what concerns scoring alone: a trained run may be scored again."""
        return of_training(self.to_dict())

    @property
    def name(self) -> str:
        """The run's folder below the output folder."""
        gamma = "" if self.gamma == "learned" else f"-{self.gamma}-gamma"
        return f"{self.dataset}-{self.network}-{self.model}{gamma}-trial{self.trial}"

    @property
    def model_options(self) -> dict:
        """The model's own arguments of models.build."""
        optimal = {"optimal_gamma": True} if self.gamma == "optimal" else {}
        return dict(self.options) | optimal

    @property
    def schedule(self) -> str:
        """The schedule in one line, as it stands beside every score."""
        if self.two_stages:
            return f"{self.epochs} + {self.second_epochs} epochs"
        return in_epochs(self.epochs)

    @property
    def two_stages(self) -> bool:
        """Whether a second stage is trained after the first."""
        return self.model == "two-stage" or self.shares_first_stage

    @property
    def shares_first_stage(self) -> bool:
        """Whether the first stage is that of the run with the model "two-stage"."""
        return self.model in SECOND_STAGE_ABLATIONS

    @property
    def methods(self) -> tuple[str, ...]:
        """The rows of the tables that this run can give."""
        if self.model != "two-stage":
            return (self.model,)
        rows = GAMMAS[self.gamma]
        return (*rows, *(row + RENORMALISED for row in rows))

    def second_stage(self, method: str) -> bool:
        """Whether the row ``method`` of this run needs its second stage."""
        return self.two_stages and not is_first_stage(method)


def in_epochs(count: int) -> str:
    """A number of epochs in words."""
    return f"{count} epoch{'' if count == 1 else 's'}"


def is_first_stage(method: str) -> bool:
    """Whether a row of a two-stage run is sampled from its first stage alone."""
    return method.removesuffix(RENORMALISED) in [first for first, _ in GAMMAS.values()]


def of_training(settings: dict) -> dict:
    """Settings as a dict, without what concerns scoring alone; a missing field has its default.

    Settings written before the field was thought of are those that it was added to.
    """
    return {k: v for k, v in _complete(settings).items() if k not in SCORING_FIELDS}


def differences(old: dict, new: dict) -> list[str]:
    """What changed between two such dicts, one ``name: old -> new`` a field.

    A field that one of them lacks has its default value there, see :func:`of_training`.
    """
    old, new = _complete(old), _complete(new)
    names = sorted(set(old) | set(new))
    return [f"{n}: {old.get(n)!r} -> {new.get(n)!r}" for n in names if old.get(n) != new.get(n)]


def _complete(settings: dict) -> dict:
    """Settings with the fields that they lack and that have a default in ``RunSettings``."""
    fields = dataclasses.fields(RunSettings)
    found = {f.name: f.default for f in fields if f.default is not dataclasses.MISSING}
    return {**{name: {} if value == () else value for name, value in found.items()}, **settings}


def trial_seed(seed: int, trial: int) -> int:
    """The seed of one trial: trial 0 has the command's, the others 1,000,003 apart from it.

    The step keeps the trials of neighbouring seeds (0, 1, 2...) from coinciding.
    """
    return seed + 1_000_003 * trial
