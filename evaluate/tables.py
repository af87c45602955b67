"""Records of results.json -> the paper's tables, the paper's numbers beside ours.

A table is tidy: one row for each data set, method and way of getting the score, see
``evaluate.rows``. Smoke scores have tables of their own, under other names and without the paper's
numbers; what the paper does not have is in ``evaluate.beyond``.
"""

from __future__ import annotations

import math
import os
import re
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path

from evaluate.beyond import (
    beyond_table,
    extra_table,
    nearest_table,
    second_stage_table,
    with_extra,
    with_nearest,
)
from evaluate.formats import Table, to_csv, to_latex, to_markdown
from evaluate.rows import (
    PAPER_PROTOCOL,
    SMOKE_COLUMNS,
    TABLE2_DATASETS,
    Group,
    Notes,
    Record,
    arranged,
    as_trained,
    assumed,
    by_experiment,
    by_training,
    comparable,
    in_order,
    in_table2,
    is_scored,
    naming,
    protocol_name,
    protocol_note,
    provenance,
    published_fid,
    schedule,
    select,
    titled,
)
from experiments import paper
from experiments.files import write_atomically
from experiments.paper import OFFICIAL_FEATURES


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
    said only of the published schedule under the paper's protocol, with the official features and
    10,000 images each, if the images went through JPEG as the authors' did and no setting had to be
    assumed. Raises ValueError if two records claim the same trial.
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
    records = select(records, protocol, datasets, smoke=False)
    if datasets is None:
        records = [r for r in records if not in_table2(r)]
    groups = by_experiment(records)
    notes = Notes()
    fid = score == "FID"
    header = ["Data set", "Method", "Paper", "Ours"]
    header += ["Difference", "Within 2 std"] if fid else ["Std error"]
    header += ["Trials", "By TF-GAN", "Schedule", "Images", "Features"]

    rows = []
    found = [str(r.get("dataset")) for r in records]
    shown = found + list(paper.DATASETS) if datasets is None else list(datasets)
    for dataset in in_order(shown, paper.DATASETS):
        here = [g for g in groups if g.first.get("dataset") == dataset]
        published = paper.TABLE2 if dataset in TABLE2_DATASETS else paper.TABLE1
        listed = [] if run_only else [m for m in published if dataset in published[m]]
        if not fid:  # GANs have no KID to quote
            listed = [m for m in listed if not published[m][dataset].quoted]
        for method in in_order(listed + [str(g.first.get("method")) for g in here], paper.ROWS):
            mine = [g for g in here if str(g.first.get("method")) == method]
            if method in listed and not any(published_fid(g.first) for g in mine):
                rows.append(_empty_row(dataset, method, published[method][dataset], header, notes))
            rows += [_row(group, fid, notes) for group in mine]

    note = protocol_note(protocol)
    if protocol == "standard":
        note += " The paper's numbers were measured under the other protocol."
    ours = "Ours: the value of a single trial, or mean ± sample standard deviation over trials."
    general = [note]
    if fid:
        general.append(
            f"Paper: mean ± standard deviation as published. {ours} Difference: ours minus the "
            "paper's."
        )
        if any(published_fid(g.first) and not _judged(g) for g in groups):
            general.append(
                "Whether ours lies within the paper's mean ± 2 std is said only for the published "
                f"schedule, the paper's protocol, the official features ({OFFICIAL_FEATURES}), "
                f"{paper.SCORED_IMAGES:,} images each, prepared as the authors did, and where "
                "nothing had to be assumed."
            )
        if any(published_fid(g.first) and not as_trained(g.first) for g in groups):
            general.append(
                "Where the schedule is not the published one, a difference from the paper is the "
                "schedule's as well."
            )
    else:
        general += [paper.KID_MISSING, ours]
        general.append("Std error: of one estimate, over blocks of images; mean over trials.")
    general.append(
        "By TF-GAN: the same features scored by TF-GAN's own functions. "
        "Images: generated / real images scored."
    )
    title = f"{score}, {protocol_name(protocol)}"
    if datasets is not None and set(datasets) <= set(TABLE2_DATASETS):
        networks = {r.get("network") for r in records} <= {None, paper.TABLE2_NETWORK}
        of = "CelebA cropped to 140 x 140" + (", WAE network" if networks else "")
        title = f"{'Table 2: ' if fid else ''}{score}, {of}, {protocol_name(protocol)}"
    return Table(title, tuple(header), tuple(rows), notes.all(general))


def _judged(group: Group) -> bool:
    """Whether a row may be said to agree with the paper or not."""
    record = group.first
    return comparable(record) and as_trained(record) and not assumed(record)


def _empty_row(
    dataset: str, method: str, published: paper.Published, header: list[str], notes: Notes
) -> tuple[str, ...]:
    """A row of the paper that was not run here."""
    row = paper.ROWS[method]
    name = row.name
    if published.quoted:
        name = notes.mark(f"{name}, quoted", f"Quoted from {row.source}; not trained here.")
    shown = _published_text(published) if "Difference" in header else ""
    cells = (paper.DATASETS.get(dataset, dataset), name, shown)
    return cells + ("",) * (len(header) - len(cells))


def _row(group: Group, fid: bool, notes: Notes) -> tuple[str, ...]:
    record = group.first
    field, form = ("fid", ".1f") if fid else ("kid", ".4f")
    cells = [*naming(record, notes)]
    ours = group.reason() or group.score(field, form)
    if fid:
        published = published_fid(record)
        cells += [_published_text(published), ours, *_compare(group, published)]
    else:
        blocks = [v for v in group.values("kid_std") if math.isfinite(v)]  # NaN for one block
        cells += ["", ours, format(statistics.fmean(blocks), form) if blocks else ""]
    by_tfgan = group.score(f"{field}_tfgan", form)
    return (*cells, group.trials(notes), by_tfgan, *provenance(record, notes))


def _compare(group: Group, published: paper.Published | None) -> tuple[str, str]:
    """Difference from the paper, and whether it is within 2 of the paper's std."""
    values = group.values("fid")
    if published is None or not values:
        return "", ""
    difference = statistics.fmean(values) - published.mean
    if not math.isfinite(difference):
        return "", ""
    within = ""
    if published.std is not None and _judged(group):
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


def smoke_table(
    records: Iterable[Record], protocol: str, datasets: Sequence[str] | None = None
) -> Table:
    """The scores of smoke runs, under their own names and without the paper's."""
    records = select(records, protocol, datasets, smoke=True)
    groups = by_experiment(records)
    notes = Notes()
    fields = [f for f in SMOKE_COLUMNS if any(g.values(f) for g in groups)] or ["fd-random"]
    header = ("Data set", "Method", *(SMOKE_COLUMNS[f] for f in fields))
    header += ("Trials", "Schedule", "Images", "Features")

    rows = []
    for group in arranged(groups):
        record = group.first
        rows.append(
            (
                *naming(record, notes),
                group.reason() or group.score(fields[0], ".4g", ".2g"),
                *(group.score(f, ".4g", ".2g") for f in fields[1:]),
                group.trials(notes),
                *provenance(record, notes),
            )
        )

    general = [
        "Smoke scores show that every step runs. They cannot be compared with the paper's.",
        protocol_note(protocol),
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
        f"Smoke scores, {protocol_name(protocol)}", header, tuple(rows), notes.all(general)
    )


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
    groups = by_training(_with_mmd(records, datasets, smoke), ("mmd_kernel", "mmd_n"))
    notes = Notes()
    header = ("Data set", "Method", *(() if smoke else ("Paper",)))
    header += ("q(z), first stage", "q(u), second stage", "N(0, I) itself")
    header += ("Trials", "Schedule", "Samples", "Kernel")

    rows = []
    for group in arranged(groups):
        record = group.first
        floor, spread = group.values("mmd_floor"), group.values("mmd_floor_std")
        itself = format(statistics.fmean(floor), ".3g") if floor else ""
        if floor and spread:
            itself += f" ± {statistics.fmean(spread):.2g}"
        kernel, n = str(record.get("mmd_kernel") or ""), record.get("mmd_n")
        rows.append(
            (
                *naming(record, notes),
                *(() if smoke else ("",)),
                group.score("mmd_z", ".3g", ".2g"),
                group.score("mmd_u", ".3g", ".2g"),
                itself,
                group.trials(notes),
                schedule(record),
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
    return Table(titled(title, smoke, "Table 3"), header, tuple(rows), notes.all(general))


def _with_mmd(
    records: Iterable[Record], datasets: Sequence[str] | None, smoke: bool
) -> list[Record]:
    return [
        r
        for r in select(records, None, datasets, smoke)
        if is_scored(r) and None not in (r.get("mmd_z"), r.get("mmd_u"))
    ]


# How the names of all tables' files begin.
_STEMS = ("fid-", "kid-", "smoke-", "table3-", "extra-", "beyond-", "second-stage-", "nearest")


def all_tables(
    records: Sequence[Record], datasets: Sequence[str] | None = None, run_only: bool = False
) -> dict[str, Table]:
    """Every table that the records can fill, by file stem.

    For each protocol "fid-paper", "kid-paper", "fid-table2-paper", "kid-table2-paper" and
    "smoke-paper"; then "table3-mmd", "smoke-mmd"; and last, for each protocol, what the paper does
    not have, "extra-paper", "beyond-paper" and "second-stage-paper", then "nearest", and the same
    of smoke runs behind "smoke-".
    """
    protocols = in_order(
        (str(r.get("protocol") or PAPER_PROTOCOL) for r in records), (PAPER_PROTOCOL, "standard")
    )
    stems = {protocol: re.sub(r"[^\w.-]", "_", protocol) for protocol in protocols}
    tables, extra_tables = {}, {}
    for protocol, stem in stems.items():
        scored = select(records, protocol, datasets, smoke=False)
        second = [r for r in scored if in_table2(r)]
        if len(second) < len(scored):
            first = datasets and [d for d in datasets if d not in TABLE2_DATASETS]
            tables[f"fid-{stem}"] = fid_table(records, protocol, first, run_only)
            tables[f"kid-{stem}"] = kid_table(records, protocol, first, run_only)
        if second:
            tables[f"fid-table2-{stem}"] = fid_table(second, protocol, TABLE2_DATASETS, run_only)
            tables[f"kid-table2-{stem}"] = kid_table(second, protocol, TABLE2_DATASETS, run_only)
        if select(records, protocol, datasets, smoke=True):
            tables[f"smoke-{stem}"] = smoke_table(records, protocol, datasets)
        for smoke, prefix in ((False, ""), (True, "smoke-")):
            if with_extra(records, protocol, datasets, smoke):
                table = extra_table(records, protocol, datasets, smoke)
                extra_tables[f"{prefix}extra-{stem}"] = table
            everything = select(records, protocol, datasets, smoke, beyond=True)
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
        if with_nearest(records, datasets, smoke):
            extra_tables[f"{prefix}nearest"] = nearest_table(records, datasets, smoke)
    return tables | extra_tables


def write_tables(records: Sequence[Record], folder: str | os.PathLike) -> list[Path]:
    """Write every table that the records can fill as .md, .csv and .tex; return the files' paths.

    Each file is replaced whole or not at all; tables that an earlier call wrote and these records
    do not fill are removed. Raises ValueError if two records claim the same trial.
    """
    paths = []
    for stem, table in all_tables(records).items():
        for suffix, render in ((".md", to_markdown), (".csv", to_csv), (".tex", to_latex)):
            paths.append(write_atomically(Path(folder) / (stem + suffix), render(table)))
    for path in set(Path(folder).glob("*.*")).difference(paths):
        if path.suffix in (".md", ".csv", ".tex") and path.stem.startswith(_STEMS):
            path.unlink()
    return paths
