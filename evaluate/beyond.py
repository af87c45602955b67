"""Tables of what the paper does not have: other metrics, variants, the second stage's ablations.

Rows and their order are as ``evaluate.rows`` has them. Nothing here stands among the paper's rows.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence

from evaluate.formats import Table
from evaluate.rows import (
    SMOKE_COLUMNS,
    Group,
    Notes,
    Record,
    arranged,
    by_experiment,
    by_training,
    compared,
    is_scored,
    naming,
    protocol_name,
    protocol_note,
    provenance,
    schedule,
    select,
    titled,
)
from experiments import paper

_EXTRA = ("precision", "recall", "density", "coverage")


def extra_table(
    records: Iterable[Record],
    protocol: str,
    datasets: Sequence[str] | None = None,
    smoke: bool = False,
) -> Table:
    """Precision, recall, density and coverage, which the paper does not report.

    Records count that have at least one number under these names; a smoke run's stand in a table
    of their own (smoke=True). Raises ValueError if two records claim the same trial.
    """
    groups = by_experiment(with_extra(records, protocol, datasets, smoke))
    notes = Notes()
    header = ("Data set", "Method", *(name.capitalize() for name in _EXTRA))
    header += ("Trials", "Schedule", "Images", "Features")
    rows = []
    for group in arranged(groups):
        record = group.first
        rows.append(
            (
                *naming(record, notes),
                *(group.score(name, ".3f") for name in _EXTRA),
                group.trials(notes),
                *provenance(record, notes),
            )
        )
    general = ["Not in the paper. Higher is better in every column."]
    if smoke:
        general.append(
            "Smoke scores show that every step runs. They compare with no one else's, least of all "
            "on the features of a random network."
        )
    general += [
        protocol_note(protocol),
        "Balls around each image's features reach to its 3rd nearest neighbour for precision and "
        "recall (Kynkaanniemi et al. 2019), to its 5th for density and coverage (Naeem et al. "
        "2020). Precision: generated images in some real image's ball. Recall: real images in some "
        "generated image's ball. Density: real balls around a generated image, divided by 5; it "
        "may exceed 1. Coverage: real balls that hold a generated image.",
        "Images: generated / real images scored.",
    ]
    title = "precision, recall, density and coverage, " + protocol_name(protocol)
    return Table(titled(title, smoke), header, tuple(rows), notes.all(general))


def with_extra(
    records: Iterable[Record], protocol: str, datasets: Sequence[str] | None, smoke: bool
) -> list[Record]:
    return [
        r
        for r in select(records, protocol, datasets, smoke, beyond=True)
        if is_scored(r) and any(r.get(name) is not None for name in _EXTRA)
    ]


def nearest_table(
    records: Iterable[Record], datasets: Sequence[str] | None = None, smoke: bool = False
) -> Table:
    """Are samples copies? Their distance from the nearest training image, beside test images'.

    Records count that have "nearest_sample" and "nearest_test" (medians) and "nearest_n" (images of
    either kind). Records of one training scored in several ways count once.
    """
    groups = by_training(with_nearest(records, datasets, smoke), ("nearest_n",))
    notes = Notes()
    header = ("Data set", "Method", "Samples", "Test images", "Ratio")
    header += ("Trials", "Schedule", "Images")
    rows = []
    for group in arranged(groups):
        record = group.first
        made, real = group.values("nearest_sample"), group.values("nearest_test")
        ratio = statistics.fmean(made) / statistics.fmean(real) if any(real) else math.nan
        rows.append(
            (
                *naming(record, notes),
                group.score("nearest_sample", ".4f"),
                group.score("nearest_test", ".4f"),
                format(ratio, ".2f") if math.isfinite(ratio) else "",
                group.trials(notes),
                schedule(record),
                f"{record['nearest_n']:,}" if record.get("nearest_n") else "",
            )
        )
    general = (
        "No table of the paper's. Median distance of samples from their nearest training image, "
        "and of as many test images from theirs: root mean square difference of a pixel, on the "
        "scale from 0 to 1. Ratio: the first over the second.",
        "Samples that were copies would be near 0. Blurred images are closer to everything, so a "
        "ratio somewhat below 1 is no sign of copying.",
    )
    title = "distance from the nearest training image"
    return Table(titled(title, smoke), header, tuple(rows), notes.all(general))


def with_nearest(
    records: Iterable[Record], datasets: Sequence[str] | None, smoke: bool
) -> list[Record]:
    return [
        r
        for r in select(records, None, datasets, smoke, beyond=True)
        if is_scored(r) and None not in (r.get("nearest_sample"), r.get("nearest_test"))
    ]


# What must agree for a row of the paper to stand beside a variant.
_ALIKE = (
    "data_source",
    "data_note",
    "data_missing",
    "network",
    "latent_dim",
    "preset",
    "epochs",
    "features",
)


_BEYOND_NOTES = (
    "Optimal gamma: the running root mean squared error of the reconstruction instead of a weight "
    "trained by gradient, in both stages (Asperti and Trentin 2020, Rybkin et al. 2021).",
    "Renormalised: each latent dimension of the samples has the variance that it has over the data "
    "under q(z), which is Variance of z on average (Asperti and Trentin 2020). Of a first stage: "
    "z ~ N(0, variances); of both: z_hat(u) stretched, instead of gamma_z's noise added.",
)


def beyond_table(
    records: Iterable[Record],
    protocol: str,
    datasets: Sequence[str] | None = None,
    smoke: bool = False,
) -> Table:
    """Variants of the paper's methods, each below the row of the paper that it departs from.

    Only data sets with a record of ``paper.BEYOND`` appear; a smoke run's scores stand in a table
    of their own (smoke=True). Raises ValueError if two records claim the same trial.
    """
    return _variant_table(
        paper.BEYOND,
        "variants of training and sampling",
        (("log gamma", "log_gamma", ".3f"), ("Variance of z", "aggregate_variance", ".3f")),
        _BEYOND_NOTES,
        select(records, protocol, datasets, smoke, beyond=True),
        protocol,
        smoke,
    )


_SECOND_STAGE_NOTES = (
    "All rows of one trial share one trained first stage. No skip connections: the second stage's "
    "output layers see the last hidden layer alone. Z drawn once: one z for each training image "
    "instead of a fresh one at every step. Both together are how the library pythae differs from "
    "the authors' code in these two respects; its others are not imitated.",
    "MMD of q(u): squared MMD between q(u) and N(0, I), as in Table 3.",
)


def second_stage_table(
    records: Iterable[Record],
    protocol: str,
    datasets: Sequence[str] | None = None,
    smoke: bool = False,
) -> Table:
    """Ablations of the second stage below the two-stage VAE; otherwise as beyond_table."""
    return _variant_table(
        paper.SECOND_STAGE,
        "ablations of the second stage",
        (("MMD of q(u)", "mmd_u", ".3g"), ("log gamma, second", "log_gamma_z", ".3f")),
        _SECOND_STAGE_NOTES,
        select(records, protocol, datasets, smoke, beyond=True),
        protocol,
        smoke,
    )


def _variant_table(
    variants: Mapping[str, paper.Variant],
    title: str,
    more: Sequence[tuple[str, str, str]],
    explained: Sequence[str],
    records: Sequence[Record],
    protocol: str,
    smoke: bool,
) -> Table:
    """A table of variants and the rows that they are set beside.

    more: columns besides the scores, (header, field, format); empty ones are left out.
    """
    groups = by_experiment(records)
    chosen = [g for g in groups if g.first.get("method") in variants]
    methods = {g.first.get("method") for g in chosen}
    beside = dict.fromkeys(v.beside for name, v in variants.items() if name in methods)
    order = [m for row in beside for m in (row, *_variants_of(row, variants))]
    shown = chosen + [
        g for g in groups if g.first.get("method") in beside and any(_alike(g, c) for c in chosen)
    ]
    more = [column for column in more if any(g.values(column[1]) for g in shown)]
    columns = SMOKE_COLUMNS if smoke else {"fid": "FID", "kid": "KID"}
    fields = [f for f in columns if any(g.values(f) for g in shown)] or list(columns)[:1]
    notes = Notes()
    header = ("Data set", "Method", *(columns[f] for f in fields), *(name for name, _, _ in more))
    header += ("Trials", "Schedule", "Images", "Features")
    rows = []
    for group in arranged(shown, order):
        record = group.first
        scores = [
            group.score(f, *((".4g", ".2g") if smoke else (_SCORE_FORMATS[f],))) for f in fields
        ]
        rows.append(
            (
                *naming(record, notes),
                group.reason() or scores[0],
                *scores[1:],
                *(group.score(field, form) for _, field, form in more),
                group.trials(notes),
                *provenance(record, notes),
            )
        )
    general = ["Not in the paper. Lower is better in the columns of scores."]
    if smoke:
        general.append(
            "Smoke scores show that every step runs. They cannot be compared with anyone else's."
        )
    general += [*explained, protocol_note(protocol)]
    general.append("Images: generated / real images scored.")
    title = f"{title}, {protocol_name(protocol)}"
    return Table(titled(title, smoke), header, tuple(rows), notes.all(general))


_SCORE_FORMATS = {"fid": ".1f", "kid": ".4f"}


def _variants_of(beside: str, variants: Mapping[str, paper.Variant]) -> list[str]:
    return [name for name, variant in variants.items() if variant.beside == beside]


def _alike(group: Group, other: Group) -> bool:
    """Whether two rows differ in nothing but their method."""
    a, b = group.first, other.first
    return a.get("dataset") == b.get("dataset") and all(
        None in (a.get(f), b.get(f)) or compared(a, f) == compared(b, f) for f in _ALIKE
    )
