"""Records of results.json -> tables beside the paper's numbers.

A table is tidy: one row for each data set, method and way of getting the score. Records are
averaged only over trials; whatever else differs (protocol, features, preset, schedule, data, number
of images) makes a row of its own. Smoke scores, which cannot be compared with the paper's, have
tables of their own, under other names and without the paper's numbers.
"""

from __future__ import annotations

import json
import math
import os
import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evaluate.formats import Table, to_csv, to_latex, to_markdown
from experiments import paper
from experiments.files import write_atomically

Record = Mapping[str, Any]

OFFICIAL_FEATURES = "inception-2015-12-05"
PAPER_PROTOCOL = "paper"
TABLE2_DATASETS = tuple(paper.TABLE2["two-stage"])
_PROTOCOL_NOTES = {
    PAPER_PROTOCOL: (
        "Protocol `paper`: generated images are stretched to [0, 1] one by one and scored "
        "unrounded; real images are scored as they are."
    ),
    "standard": (
        "Protocol `standard`: generated images are rounded to 8 bits and not stretched. "
        "The paper's numbers were measured under the other protocol."
    ),
}

# Everything that must agree before two records count as trials of one experiment.
_SETTINGS = (
    *("dataset", "data_source", "data_note", "n_train"),
    *("method", "network", "latent_dim"),
    *("preset", "schedule", "epochs", "second_epochs", "batch_size", "learning_rate"),
    *("gamma_speed", "jpeg"),
    *("protocol", "features", "features_note", "smoke"),
)
SAME_EXPERIMENT = (*_SETTINGS, "data_sha256", "n_real", "n_fake")


@dataclass
class _Group:
    """Trials of one experiment: scored records, and what went wrong in the others."""

    records: list[Record]
    failures: list[Record]

    @property
    def first(self) -> Record:
        return (self.records or self.failures)[0]

    def values(self, field: str) -> list[float]:
        """The scores present under a field, one for each trial."""
        return [float(r[field]) for r in self.records if r.get(field) is not None]

    def score(self, field: str, form: str, std_form: str | None = None) -> str:
        """One value; mean +- sample standard deviation over trials; empty if there is none."""
        values = self.values(field)
        if not values:
            return ""
        text = format(statistics.fmean(values), form)
        if len(values) > 1 and all(map(math.isfinite, values)):
            text += f" ± {format(statistics.stdev(values), std_form or form)}"
        return text

    def reason(self) -> str:
        """Why there is no score at all; empty if any trial was scored."""
        return "" if self.records else _reason(self.failures[0])

    def trials(self, notes: _Notes) -> str:
        """How many trials the score stands on; a note for each that failed beside them."""
        done, total = len(self.records), len(self.records) + len(self.failures)
        text = f"{done} of {total}" if self.failures else str(done)
        for failure in self.failures if self.records else ():
            text = notes.mark(text, f"Trial {failure.get('trial')} {_reason(failure)}")
        return text


class _Notes:
    """Numbered footnotes, in order of first use."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def mark(self, text: str, note: str | None) -> str:
        """Return the text with the note's number behind it."""
        if not note:
            return text
        if note not in self.texts:
            self.texts.append(note)
        return f"{text} [{self.texts.index(note) + 1}]"

    def all(self, general: Iterable[str]) -> tuple[str, ...]:
        return (*general, *(f"[{i}] {text}" for i, text in enumerate(self.texts, 1)))


# Which records may stand where.


def is_smoke(record: Record) -> bool:
    """Return whether a record's scores cannot be compared with the paper's."""
    return bool(record.get("smoke")) or str(record.get("features") or "").startswith("random")


def data_label(record: Record) -> str:
    """Name a record's data as tables do: the paper's name only for the paper's own data set.

    A sample or a stand-in goes by the name of its source. A data note says that the data are not
    what their name promises.
    """
    dataset, source = str(record.get("dataset")), record.get("data_source")
    if source not in (None, "official", "local"):
        return str(source)
    if record.get("data_note"):
        return f"{dataset} (other data)"
    return paper.DATASETS.get(dataset, dataset)


def method_label(record: Record) -> str:
    """Name a record's method as the paper does, with whatever departs from the paper's network."""
    name = paper.method_name(str(record.get("method")))
    network, latent_dim = record.get("network"), record.get("latent_dim")
    of_table2 = _in_table2(record)
    extra = []
    if network not in (None, paper.TABLE2_NETWORK if of_table2 else paper.TABLE1_NETWORK):
        extra.append(f"network {network}")
    if latent_dim not in (None, paper.TABLE1_LATENT_DIM) and not of_table2:
        extra.append(f"{latent_dim} latent dimensions")
    return f"{name}, {', '.join(extra)}" if extra else name


def _is_beyond(record: Record) -> bool:
    """Whether a record's method is none of the paper's."""
    return record.get("method") in (*paper.BEYOND, *paper.SECOND_STAGE)


def _in_table2(record: Record) -> bool:
    return str(record.get("dataset")) in TABLE2_DATASETS


def _published(record: Record) -> paper.Published | None:
    """The paper's FID for a record's settings; None if its data are not the paper's."""
    if is_smoke(record) or record.get("data_note"):
        return None
    if record.get("data_source") not in (None, "official", "local"):
        return None
    return paper.published_fid(
        record.get("method"), record.get("dataset"), record.get("network"), record.get("latent_dim")
    )


def _groups(records: Iterable[Record]) -> list[_Group]:
    """Gather the trials of each experiment; a failure joins the experiment it belongs to."""
    scored: dict[str, _Group] = {}
    failed = []
    for record in records:
        if record.get("status", "ok") != "ok":
            failed.append(record)
            continue
        key = json.dumps([record.get(f) for f in SAME_EXPERIMENT], sort_keys=True, default=str)
        group = scored.setdefault(key, _Group([], []))
        trial = (record.get("trial"), record.get("seed"))
        if trial in [(r.get("trial"), r.get("seed")) for r in group.records]:
            raise ValueError(
                f"expected one record for each trial, got two for trial {trial[0]} of "
                f"{record.get('method')} on {record.get('dataset')} "
                f"(protocol {record.get('protocol')}): remove one from results.json"
            )
        group.records.append(record)
    groups = list(scored.values())
    for record in failed:
        group = next((g for g in groups if _same_settings(record, g.first)), None)
        if group is None:
            groups.append(_Group([], [record]))
        else:
            group.failures.append(record)
    return groups


def _same_settings(failed: Record, other: Record) -> bool:
    """Whether a failed record, which may lack what it did not live to see, belongs to another."""
    return all(failed.get(f) is None or failed.get(f) == other.get(f) for f in _SETTINGS)


def _reason(record: Record) -> str:
    status = str(record.get("status"))
    return status if status.startswith("failed") else f"failed: {status}"


def _select(
    records: Iterable[Record],
    protocol: str,
    datasets: Sequence[str] | None,
    smoke: bool,
    beyond: bool = False,
) -> list[Record]:
    """The records a table is about; rows that the paper does not have only with ``beyond``."""
    return [
        r
        for r in records
        if is_smoke(r) == smoke
        and (beyond or not _is_beyond(r))
        and r.get("protocol") in (protocol, None)
        and (datasets is None or r.get("dataset") in datasets)
    ]


def _order(names: Iterable[str], known: Iterable[str]) -> list[str]:
    """The distinct names: the known ones in their order, then the others as they come."""
    names = list(dict.fromkeys(names))
    return [n for n in known if n in names] + [n for n in names if n not in set(known)]


# Tables.


def fid_table(
    records: Iterable[Record],
    protocol: str,
    datasets: Sequence[str] | None = None,
    run_only: bool = False,
) -> Table:
    """Table 1 or 2 of the paper: published FID beside ours. Smoke records are left out.

    protocol: "paper" or "standard"; only records scored under it count.
    datasets: the records' names of the data sets to show; all of Table 1's, and any other among
        the records but Table 2's, if None. TABLE2_DATASETS gives Table 2.
    run_only: leave out the rows for which there is no record.

    The difference is ours minus the paper's. Whether ours lies within the paper's mean +- 2 std is
    said only under the paper's protocol and with the official features. Raises ValueError if two
    records claim the same trial.
    """
    return _score_table("FID", records, protocol, datasets, run_only)


def kid_table(
    records: Iterable[Record],
    protocol: str,
    datasets: Sequence[str] | None = None,
    run_only: bool = False,
) -> Table:
    """KID in the shape of fid_table, which see. The published column is empty, with a note."""
    return _score_table("KID", records, protocol, datasets, run_only)


def _score_table(
    score: str,
    records: Iterable[Record],
    protocol: str,
    datasets: Sequence[str] | None,
    run_only: bool,
) -> Table:
    records = _select(records, protocol, datasets, smoke=False)
    if datasets is None:
        records = [r for r in records if not _in_table2(r)]
    groups = _groups(records)
    notes = _Notes()
    fid = score == "FID"
    header = ["Data set", "Method", "Paper", "Ours"]
    header += ["Difference", "Within 2 std"] if fid else ["Std error"]
    header += ["Trials", "By TF-GAN", "Schedule", "Images", "Features"]

    rows = []
    found = [str(r.get("dataset")) for r in records]
    shown = found + list(paper.DATASETS) if datasets is None else list(datasets)
    for dataset in _order(shown, paper.DATASETS):
        here = [g for g in groups if g.first.get("dataset") == dataset]
        published = paper.TABLE2 if dataset in TABLE2_DATASETS else paper.TABLE1
        listed = [] if run_only else [m for m in published if dataset in published[m]]
        if not fid:  # GANs have no KID to quote
            listed = [m for m in listed if not published[m][dataset].quoted]
        for method in _order(listed + [str(g.first.get("method")) for g in here], paper.ROWS):
            mine = [g for g in here if str(g.first.get("method")) == method]
            if method in listed and not any(_published(g.first) for g in mine):
                rows.append(_empty_row(dataset, method, published[method][dataset], header, notes))
            rows += [_row(group, protocol, fid, notes) for group in mine]

    general = [_PROTOCOL_NOTES.get(protocol, f"Protocol `{protocol}`.")]
    if fid:
        general.append(
            "Paper: mean ± standard deviation as published. Ours: the value of a single trial, or "
            "mean ± sample standard deviation over trials. Difference: ours minus the paper's."
        )
        if any(_published(g.first) and not _judged(g, protocol) for g in groups):
            general.append(
                "Whether ours lies within the paper's mean ± 2 std is said only for the paper's "
                f"protocol and the official features ({OFFICIAL_FEATURES})."
            )
    else:
        general.append(paper.KID_MISSING)
        general.append("Std error: of one estimate, over blocks of images; mean over trials.")
    general.append(
        "By TF-GAN: the same features scored by TF-GAN's own functions. "
        "Images: generated / real images scored."
    )
    title = f"{score}, {_protocol_name(protocol)}"
    if datasets is not None and set(datasets) <= set(TABLE2_DATASETS):
        title = f"{'Table 2: ' if fid else ''}{score}, CelebA cropped to 140 x 140, WAE network, "
        title += _protocol_name(protocol)
    return Table(title, tuple(header), tuple(rows), notes.all(general))


def _protocol_name(protocol: str) -> str:
    return "the paper's protocol" if protocol == PAPER_PROTOCOL else f"{protocol} protocol"


def _judged(group: _Group, protocol: str) -> bool:
    """Whether a row may be said to agree with the paper or not."""
    return protocol == PAPER_PROTOCOL and group.first.get("features") == OFFICIAL_FEATURES


def _empty_row(
    dataset: str, method: str, published: paper.Published, header: list[str], notes: _Notes
) -> tuple[str, ...]:
    """A row of the paper that was not run here."""
    row = paper.ROWS[method]
    name = row.name
    if published.quoted:
        name = notes.mark(f"{name}, quoted", f"Quoted from {row.source}; not trained here.")
    shown = _published_text(published) if "Difference" in header else ""
    cells = (paper.DATASETS.get(dataset, dataset), name, shown)
    return cells + ("",) * (len(header) - len(cells))


def _row(group: _Group, protocol: str, fid: bool, notes: _Notes) -> tuple[str, ...]:
    record = group.first
    field, form = ("fid", ".1f") if fid else ("kid", ".4f")
    cells = [
        notes.mark(data_label(record), record.get("data_note")),
        method_label(record),
    ]
    ours = group.reason() or group.score(field, form)
    if fid:
        published = _published(record)
        cells += [_published_text(published), ours, *_compare(group, published, protocol)]
    else:
        blocks = [v for v in group.values("kid_std") if math.isfinite(v)]  # NaN for one block
        cells += ["", ours, format(statistics.fmean(blocks), form) if blocks else ""]
    by_tfgan = group.score(f"{field}_tfgan", form)
    return (*cells, group.trials(notes), by_tfgan, *_provenance(record, notes))


def _compare(group: _Group, published: paper.Published | None, protocol: str) -> tuple[str, str]:
    """Difference from the paper, and whether it is within 2 of the paper's std."""
    values = group.values("fid")
    if published is None or not values:
        return "", ""
    difference = statistics.fmean(values) - published.mean
    if not math.isfinite(difference):
        return "", ""
    within = ""
    if published.std is not None and _judged(group, protocol):
        # the tolerance is for decimal fractions such as 15.6 - 12.6 <= 3
        within = "yes" if abs(difference) <= 2 * published.std + 1e-9 else "no"
    return f"{difference:+.1f}", within


def _published_text(published: paper.Published | None) -> str:
    if published is None:
        return ""
    if published.approximate:
        return f"~{published.mean:g}"
    if published.std is None:
        return f"{published.mean:g}"
    return f"{published.mean:.1f} ± {published.std:.1f}"


def _provenance(record: Record, notes: _Notes) -> tuple[str, str, str]:
    """The cells that say how a score came about: schedule, images, features."""
    n_fake, n_real = record.get("n_fake"), record.get("n_real")
    images = f"{n_fake:,} / {n_real:,}" if n_fake and n_real else ""
    features = str(record.get("features") or "")
    return _schedule(record), images, notes.mark(features, record.get("features_note"))


def _schedule(record: Record) -> str:
    return ": ".join(str(record[f]) for f in ("preset", "schedule") if record.get(f))


# Names of smoke scores: those of random features are the records' own; a score on an Inception
# network from a run too small to compare is called neither FID nor KID.
_SMOKE_COLUMNS = {
    "fd-random": "fd-random",
    "kd-random": "kd-random",
    "kd-random-std": "kd-random-std",
    "fid": "smoke-fid",
    "kid": "smoke-kid",
}


def smoke_table(
    records: Iterable[Record], protocol: str, datasets: Sequence[str] | None = None
) -> Table:
    """The scores of smoke runs, under their own names and without the paper's."""
    records = _select(records, protocol, datasets, smoke=True)
    groups = _groups(records)
    notes = _Notes()
    fields = [f for f in _SMOKE_COLUMNS if any(g.values(f) for g in groups)] or ["fd-random"]
    header = ("Data set", "Method", *(_SMOKE_COLUMNS[f] for f in fields))
    header += ("Trials", "Schedule", "Images", "Features")

    rows = []
    for dataset in _order((str(r.get("dataset")) for r in records), paper.DATASETS):
        here = [g for g in groups if str(g.first.get("dataset")) == dataset]
        for method in _order((str(g.first.get("method")) for g in here), paper.ROWS):
            for group in here:
                if str(group.first.get("method")) != method:
                    continue
                record = group.first
                rows.append(
                    (
                        notes.mark(data_label(record), record.get("data_note")),
                        method_label(record),
                        group.reason() or group.score(fields[0], ".4g", ".2g"),
                        *(group.score(f, ".4g", ".2g") for f in fields[1:]),
                        group.trials(notes),
                        *_provenance(record, notes),
                    )
                )

    general = [
        "Smoke scores show that every step runs. They cannot be compared with the paper's.",
        _PROTOCOL_NOTES.get(protocol, f"Protocol `{protocol}`.").split(" The paper's")[0],
    ]
    if "fd-random" in fields:
        general.append(
            "fd-random and kd-random: Fréchet and kernel distances on the features of a seeded "
            "random network, not on Inception's."
        )
    if "fid" in fields or "kid" in fields:
        general.append(
            "smoke-fid and smoke-kid: Fréchet and kernel distances on the named network's "
            "features, from too little training, too few images or other data than the paper's."
        )
    general.append("Images: generated / real images scored.")
    return Table(
        f"Smoke scores, {_protocol_name(protocol)}", header, tuple(rows), notes.all(general)
    )


# Table 3 is about latent samples: in what way images were scored makes no difference.
_SCORING = ("protocol", "features", "features_note", "smoke")
_MMD_GROUP = (*(f for f in _SETTINGS if f not in _SCORING), "data_sha256", "mmd_kernel", "mmd_n")


def _trainings(records: Iterable[Record], fields: Sequence[str]) -> list[_Group]:
    """The trials of each experiment, one record a training however often it was scored."""
    groups: dict[str, _Group] = {}
    for record in records:
        key = json.dumps([record.get(f) for f in fields], sort_keys=True, default=str)
        group = groups.setdefault(key, _Group([], []))
        trial = (record.get("trial"), record.get("seed"))
        if trial not in [(r.get("trial"), r.get("seed")) for r in group.records]:
            group.records.append(record)
    return list(groups.values())


def mmd_table(
    records: Iterable[Record], datasets: Sequence[str] | None = None, smoke: bool = False
) -> Table:
    """Table 3 of the paper: how far q(z) and q(u) are from N(0, I), by squared MMD.

    Records count that have "mmd_z" and "mmd_u" (numbers), "mmd_floor" and "mmd_floor_std" (what
    N(0, I) samples themselves get), "mmd_kernel" (one line, its short name before a colon) and
    "mmd_n" (samples on either side; the last three may be missing). Records of one training scored
    in several ways count once. The published column is empty, with a note; smoke runs, of which
    smoke=True makes a table, have none.
    """
    groups = _trainings(_with_mmd(records, datasets, smoke), _MMD_GROUP)
    notes = _Notes()
    header = ("Data set", "Method", *(() if smoke else ("Paper",)))
    header += ("q(z), first stage", "q(u), second stage", "N(0, I) itself")
    header += ("Trials", "Schedule", "Samples", "Kernel")

    rows = []
    for dataset in _order((str(g.first.get("dataset")) for g in groups), paper.DATASETS):
        for group in groups:
            record = group.first
            if str(record.get("dataset")) != dataset:
                continue
            floor, spread = group.values("mmd_floor"), group.values("mmd_floor_std")
            itself = format(statistics.fmean(floor), ".3g") if floor else ""
            if floor and spread:
                itself += f" ± {statistics.fmean(spread):.2g}"
            kernel, n = str(record.get("mmd_kernel") or ""), record.get("mmd_n")
            rows.append(
                (
                    notes.mark(data_label(record), record.get("data_note")),
                    method_label(record),
                    *(() if smoke else ("",)),
                    group.score("mmd_z", ".3g", ".2g"),
                    group.score("mmd_u", ".3g", ".2g"),
                    itself,
                    group.trials(notes),
                    _schedule(record),
                    f"{n:,}" if n else "",
                    notes.mark(kernel.split(":")[0], kernel),
                )
            )

    general = [] if smoke else [paper.TABLE3_MISSING]
    general.append(
        "Squared MMD between N(0, I) and samples of q(z) or q(u), estimated without bias, so that "
        "values around 0 may be negative; mean ± sample standard deviation where there are several "
        "trials. Lower is better."
    )
    general.append(
        "N(0, I) itself: the value that two sets of N(0, I) samples get, mean ± standard deviation "
        "over repeats; what is within it cannot be told from N(0, I)."
    )
    title = "MMD between N(0, I) and the latent samples"
    title = f"Smoke scores: {title}" if smoke else f"Table 3: {title}"
    return Table(title, header, tuple(rows), notes.all(general))


def _with_mmd(
    records: Iterable[Record], datasets: Sequence[str] | None, smoke: bool
) -> list[Record]:
    return [
        r
        for r in records
        if r.get("mmd_z") is not None
        and r.get("mmd_u") is not None
        and not _is_beyond(r)
        and r.get("status", "ok") == "ok"
        and is_smoke(r) == smoke
        and (datasets is None or r.get("dataset") in datasets)
    ]


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
    groups = _groups(_with_extra(records, protocol, datasets, smoke))
    notes = _Notes()
    header = ("Data set", "Method", *(name.capitalize() for name in _EXTRA))
    header += ("Trials", "Schedule", "Images", "Features")
    rows = []
    for dataset in _order((str(g.first.get("dataset")) for g in groups), paper.DATASETS):
        here = [g for g in groups if str(g.first.get("dataset")) == dataset]
        for method in _order((str(g.first.get("method")) for g in here), paper.ROWS):
            for group in here:
                record = group.first
                if str(record.get("method")) != method:
                    continue
                rows.append(
                    (
                        notes.mark(data_label(record), record.get("data_note")),
                        method_label(record),
                        *(group.score(name, ".3f") for name in _EXTRA),
                        group.trials(notes),
                        *_provenance(record, notes),
                    )
                )
    general = ["Not in the paper. Higher is better in every column."]
    if smoke:
        general.append(
            "Smoke scores show that every step runs. They compare with no one else's, least of all "
            "on the features of a random network."
        )
    general += [
        _PROTOCOL_NOTES.get(protocol, f"Protocol `{protocol}`.").split(" The paper's")[0],
        "Balls around each image's features reach to its 3rd nearest neighbour for precision and "
        "recall (Kynkaanniemi et al. 2019), to its 5th for density and coverage (Naeem et al. "
        "2020). Precision: generated images in some real image's ball. Recall: real images in some "
        "generated image's ball. Density: real balls around a generated image, divided by 5; it "
        "may exceed 1. Coverage: real balls that hold a generated image.",
        "Images: generated / real images scored.",
    ]
    title = "precision, recall, density and coverage, " + _protocol_name(protocol)
    title = f"Smoke scores: {title}" if smoke else f"More than the paper: {title}"
    return Table(title, header, tuple(rows), notes.all(general))


def _with_extra(
    records: Iterable[Record], protocol: str, datasets: Sequence[str] | None, smoke: bool
) -> list[Record]:
    return [
        r
        for r in _select(records, protocol, datasets, smoke, beyond=True)
        if r.get("status", "ok") == "ok" and any(r.get(name) is not None for name in _EXTRA)
    ]


_NEAREST_GROUP = (*(f for f in _SETTINGS if f not in _SCORING), "data_sha256", "nearest_n")


def nearest_table(
    records: Iterable[Record], datasets: Sequence[str] | None = None, smoke: bool = False
) -> Table:
    """Are samples copies? Their distance from the nearest training image, beside test images'.

    Records count that have "nearest_sample" and "nearest_test" (medians) and "nearest_n" (images of
    either kind). Records of one training scored in several ways count once.
    """
    groups = _trainings(_with_nearest(records, datasets, smoke), _NEAREST_GROUP)
    notes = _Notes()
    header = ("Data set", "Method", "Samples", "Test images", "Ratio")
    header += ("Trials", "Schedule", "Images")
    rows = []
    order = [*paper.ROWS, *paper.ABLATIONS, *paper.BEYOND, *paper.SECOND_STAGE]
    for dataset in _order((str(g.first.get("dataset")) for g in groups), paper.DATASETS):
        here = [g for g in groups if str(g.first.get("dataset")) == dataset]
        for method in _order((str(g.first.get("method")) for g in here), order):
            for group in here:
                record = group.first
                if str(record.get("method")) != method:
                    continue
                made, real = group.values("nearest_sample"), group.values("nearest_test")
                ratio = statistics.fmean(made) / statistics.fmean(real) if any(real) else math.nan
                rows.append(
                    (
                        notes.mark(data_label(record), record.get("data_note")),
                        method_label(record),
                        group.score("nearest_sample", ".4f"),
                        group.score("nearest_test", ".4f"),
                        format(ratio, ".2f") if math.isfinite(ratio) else "",
                        group.trials(notes),
                        _schedule(record),
                        f"{record['nearest_n']:,}" if record.get("nearest_n") else "",
                    )
                )
    general = (
        "Not in the paper. Median distance of samples from their nearest training image, and of as "
        "many test images from theirs: root mean square difference of a pixel, on the scale from 0 "
        "to 1. Ratio: the first over the second.",
        "Samples that were copies would be near 0. Blurred images are closer to everything, so a "
        "ratio somewhat below 1 is no sign of copying.",
    )
    title = "distance from the nearest training image"
    title = f"Smoke scores: {title}" if smoke else f"More than the paper: {title}"
    return Table(title, header, tuple(rows), notes.all(general))


def _with_nearest(
    records: Iterable[Record], datasets: Sequence[str] | None, smoke: bool
) -> list[Record]:
    return [
        r
        for r in records
        if r.get("nearest_sample") is not None
        and r.get("nearest_test") is not None
        and r.get("status", "ok") == "ok"
        and is_smoke(r) == smoke
        and (datasets is None or r.get("dataset") in datasets)
    ]


# What must agree for a row of the paper to stand beside a variant.
_ALIKE = ("data_source", "data_note", "network", "latent_dim", "preset", "epochs", "features")
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
        _select(records, protocol, datasets, smoke, beyond=True),
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
        _select(records, protocol, datasets, smoke, beyond=True),
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
    groups = _groups(records)
    chosen = [g for g in groups if g.first.get("method") in variants]
    methods = {g.first.get("method") for g in chosen}
    beside = dict.fromkeys(v.beside for name, v in variants.items() if name in methods)
    order = [m for row in beside for m in (row, *_variants_of(row, variants))]
    shown = chosen + [
        g for g in groups if g.first.get("method") in beside and any(_alike(g, c) for c in chosen)
    ]
    more = [column for column in more if any(g.values(column[1]) for g in shown)]
    columns = _SMOKE_COLUMNS if smoke else {"fid": "FID", "kid": "KID"}
    fields = [f for f in columns if any(g.values(f) for g in shown)] or list(columns)[:1]
    notes = _Notes()
    header = ("Data set", "Method", *(columns[f] for f in fields), *(name for name, _, _ in more))
    header += ("Trials", "Schedule", "Images", "Features")
    rows = []
    for dataset in _order((str(g.first.get("dataset")) for g in chosen), paper.DATASETS):
        for method in order:
            for group in shown:
                record = group.first
                if (record.get("dataset"), record.get("method")) != (dataset, method):
                    continue
                scores = [
                    group.score(f, *((".4g", ".2g") if smoke else (_SCORE_FORMATS[f],)))
                    for f in fields
                ]
                rows.append(
                    (
                        notes.mark(data_label(record), record.get("data_note")),
                        method_label(record),
                        group.reason() or scores[0],
                        *scores[1:],
                        *(group.score(field, form) for _, field, form in more),
                        group.trials(notes),
                        *_provenance(record, notes),
                    )
                )
    general = ["Not in the paper. Lower is better in the columns of scores."]
    if smoke:
        general.append(
            "Smoke scores show that every step runs. They cannot be compared with anyone else's."
        )
    general += [*explained, _PROTOCOL_NOTES.get(protocol, f"Protocol `{protocol}`.")]
    general[-1] = general[-1].split(" The paper's")[0]
    general.append("Images: generated / real images scored.")
    title = f"{title}, {_protocol_name(protocol)}"
    title = f"Smoke scores: {title}" if smoke else f"More than the paper: {title}"
    return Table(title, header, tuple(rows), notes.all(general))


_SCORE_FORMATS = {"fid": ".1f", "kid": ".4f"}


def _variants_of(beside: str, variants: Mapping[str, paper.Variant]) -> list[str]:
    return [name for name, variant in variants.items() if variant.beside == beside]


def _alike(group: _Group, other: _Group) -> bool:
    """Whether two rows differ in nothing but their method."""
    a, b = group.first, other.first
    return a.get("dataset") == b.get("dataset") and all(
        None in (a.get(f), b.get(f)) or a[f] == b[f] for f in _ALIKE
    )


def all_tables(
    records: Sequence[Record], datasets: Sequence[str] | None = None, run_only: bool = False
) -> dict[str, Table]:
    """Every table that the records can fill, by file stem.

    For each protocol "fid-paper", "kid-paper", "fid-table2-paper", "kid-table2-paper" and
    "smoke-paper"; then "table3-mmd", "smoke-mmd"; and last, for each protocol, what the paper does
    not have, "extra-paper", "beyond-paper" and "second-stage-paper", then "nearest", and the same
    of smoke runs behind "smoke-".
    """
    protocols = _order(
        (str(r.get("protocol") or PAPER_PROTOCOL) for r in records), (PAPER_PROTOCOL, "standard")
    )
    stems = {protocol: re.sub(r"[^\w.-]", "_", protocol) for protocol in protocols}
    tables, extra_tables = {}, {}
    for protocol, stem in stems.items():
        scored = _select(records, protocol, datasets, smoke=False)
        second = [r for r in scored if _in_table2(r)]
        if len(second) < len(scored):
            first = datasets and [d for d in datasets if d not in TABLE2_DATASETS]
            tables[f"fid-{stem}"] = fid_table(records, protocol, first, run_only)
            tables[f"kid-{stem}"] = kid_table(records, protocol, first, run_only)
        if second:
            tables[f"fid-table2-{stem}"] = fid_table(second, protocol, TABLE2_DATASETS, run_only)
            tables[f"kid-table2-{stem}"] = kid_table(second, protocol, TABLE2_DATASETS, run_only)
        if _select(records, protocol, datasets, smoke=True):
            tables[f"smoke-{stem}"] = smoke_table(records, protocol, datasets)
        for smoke, prefix in ((False, ""), (True, "smoke-")):
            if _with_extra(records, protocol, datasets, smoke):
                table = extra_table(records, protocol, datasets, smoke)
                extra_tables[f"{prefix}extra-{stem}"] = table
            everything = _select(records, protocol, datasets, smoke, beyond=True)
            methods = {r.get("method") for r in everything}
            if methods & set(paper.BEYOND):
                table = beyond_table(everything, protocol, datasets, smoke)
                extra_tables[f"{prefix}beyond-{stem}"] = table
            if methods & set(paper.SECOND_STAGE):
                table = second_stage_table(everything, protocol, datasets, smoke)
                extra_tables[f"{prefix}second-stage-{stem}"] = table
    if _with_mmd(records, datasets, smoke=False):
        tables["table3-mmd"] = mmd_table(records, datasets)
    if _with_mmd(records, datasets, smoke=True):
        tables["smoke-mmd"] = mmd_table(records, datasets, smoke=True)
    for smoke, prefix in ((False, ""), (True, "smoke-")):
        if _with_nearest(records, datasets, smoke):
            extra_tables[f"{prefix}nearest"] = nearest_table(records, datasets, smoke)
    return tables | extra_tables


def write_tables(records: Sequence[Record], folder: str | os.PathLike) -> list[Path]:
    """Write every table that the records can fill as .md, .csv and .tex; return the files' paths.

    Each file is replaced whole or not at all. Raises ValueError if two records claim the same
    trial.
    """
    paths = []
    for stem, table in all_tables(records).items():
        for suffix, render in ((".md", to_markdown), (".csv", to_csv), (".tex", to_latex)):
            paths.append(write_atomically(Path(folder) / (stem + suffix), render(table)))
    return paths
