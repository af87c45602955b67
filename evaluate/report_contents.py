"""What a report shows, whichever way it is written: sections, facts, tables, captions."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from evaluate.formats import Table
from evaluate.rows import (
    METHODS,
    Record,
    as_trained,
    data_label,
    epochs,
    in_order,
    is_papers_data,
    is_smoke,
    method_label,
    schedule,
)
from evaluate.tables import all_tables
from evaluate.terms import terms_of
from experiments import paper
from experiments.settings import GAMMAS, RENORMALISED, SECOND_STAGE_ABLATIONS

TITLE = "Diagnosing and Enhancing VAE Models, reproduced"
PAPER_URL = "https://arxiv.org/abs/1903.05789"
CAPTIONS = {
    "real": "Test images",
    "reconstructions": "Test images and their reconstructions",
    "curves": "Training curves",
    "figure1a": "Figure 1a: log gamma and the pixel error over training, gamma learned and fixed",
    "figure1b": "Figure 1b: posterior variances, and what noise along a small and a large one does",
    "figure2": "Figure 2: singular values of samples of q(z) and q(u), and of a Gaussian matrix",
    "interpolations": "Interpolations in u, from one test image's code to another's",
    "neighbours": "Samples and their nearest training images, by distance between pixels",
}
FORMATS = (("md", "Markdown"), ("csv", "CSV"), ("tex", "LaTeX"))


@dataclass(frozen=True)
class Section:
    """What there is to show of one data set."""

    anchor: str
    title: str
    facts: tuple[tuple[str, str], ...]
    tables: Mapping[str, Table]
    training: Table | None
    runs: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True)
class Head:
    """What stands above the tables."""

    command: str
    preset: str
    summary: tuple[tuple[str, str], ...]


class Report(NamedTuple):
    """All that a report shows; paths in it are relative to ``folder``."""

    folder: Path
    head: Head
    warning: str
    reasons: Sequence[str]  # for the warning; none, no warning
    glance: Mapping[str, Table]  # the tables over all data sets, by the stem of their files
    sections: Sequence[Section]


def banner_of(records: Sequence[Record]) -> str:
    some = "these" if all(map(is_smoke, records)) else "some of these"
    return f"Smoke run: {some} scores cannot be compared with the paper's"


def smoke_reasons(records: Iterable[Record]) -> list[str]:
    """Why scores cannot be compared with the paper's; empty if there are no smoke records."""
    records = [r for r in records if is_smoke(r)]
    if not records:
        return []
    reasons = []
    if any(str(r.get("features") or "").startswith("random") for r in records):
        reasons.append("Features come from a seeded random network, not from Inception.")
    other = {data_label(r) for r in records if not is_papers_data(r)}
    if other:
        reasons.append(f"The data are not the paper's own: {', '.join(sorted(other))}.")
    full = paper.SCORED_IMAGES
    for kind, field in (("generated", "n_fake"), ("real", "n_real")):
        fewest = min((r[field] for r in records if r.get(field)), default=full)
        if fewest < full:
            reasons.append(
                f"Only {fewest:,} {kind} images are scored instead of {full:,}, and both distances "
                "depend on that number."
            )
    if others := _schedules([r for r in records if not as_trained(r)], schedule):
        reasons.append(f"Training is not the published one ({others}).")
    return reasons or ["These runs are marked as smoke runs."]


def sections_of(records: Sequence[Record], runs: Sequence[Mapping[str, Any]]) -> list[Section]:
    found = [str(r.get("dataset")) for r in records] + [str(r["dataset"]) for r in runs]
    sections = []
    for number, dataset in enumerate(in_order(found, paper.DATASETS), 1):
        mine = [r for r in records if str(r.get("dataset")) == dataset]
        sections.append(
            Section(
                anchor=f"data-{number}",
                title=_distinct(mine, data_label) or dataset,
                facts=_facts(mine),
                tables=all_tables(mine, [dataset]),
                training=_training_table(mine),
                runs=tuple(r for r in runs if str(r["dataset"]) == dataset),
            )
        )
    return sections


def summary(records: Sequence[Record]) -> tuple[tuple[str, str], ...]:
    """What was run, on what and how long, over all records, as (name, text)."""
    if not records:
        return ()
    trainings: dict[tuple, dict[str, float]] = {}
    scoring = 0.0
    for r in records:
        method = str(r.get("method"))
        model = _TRAINED_AS.get(method.removesuffix(RENORMALISED), method)
        key = (model, *(str(r.get(k)) for k in ("dataset", "network", "trial", "seed", "epochs")))
        stages = trainings.setdefault(key, {"first": 0.0, "second": 0.0})
        seconds = r.get("seconds") or {}
        for stage in stages if method not in SECOND_STAGE_ABLATIONS else ("second",):
            stages[stage] = max(stages[stage], seconds.get(stage) or 0.0)
        scoring += seconds.get("scoring") or 0.0
    training = sum(sum(stages.values()) for stages in trainings.values())
    failed = sum(str(r.get("status", "ok")) != "ok" for r in records)
    time = f"{_duration(training)} of training, {_duration(scoring)} of scoring"
    facts = (
        ("Trained", f"{len(trainings)} model{'s' * (len(trainings) != 1)}"),
        ("Methods", _distinct(records, method_label)),
        ("Data", _distinct(records, data_label)),
        ("Schedules", _schedules(records, epochs)),
        ("Features", _distinct(records, lambda r: r.get("features"))),
        ("Failed", f"{failed} of {len(records)} rows" if failed else ""),
        ("Time", time if training or scoring else ""),
        ("Trained elsewhere, on", _distinct(records, _trained_on)),
        ("Machine", _distinct(records, lambda r: r.get("machine"))),
        ("Versions", _versions(records)),
    )
    return tuple((name, text) for name, text in facts if text)


# One training gives several rows: its first stage's, both stages', each re-normalised too.
_TRAINED_AS = {row: rows for rows in GAMMAS.values() for row in rows}


def _versions(records: Iterable[Record]) -> str:
    """Each package once, with all of its versions among records."""
    found: dict[str, dict[str, None]] = {}
    for r in records:
        for package, version in (r.get("versions") or {}).items():
            found.setdefault(package, {})[str(version)] = None
    return ", ".join(f"{package} {' and '.join(seen)}" for package, seen in found.items())


def _distinct(records: Iterable[Record], get: Callable[[Record], Any]) -> str:
    """The distinct values among records, in order of appearance, as one text."""
    return ", ".join(dict.fromkeys(str(v) for r in records if (v := get(r)) not in (None, "")))


def _schedules(records: Sequence[Record], get: Callable[[Record], str]) -> str:
    """The distinct schedules; a first stage's own goes without saying beside both stages'."""
    begun = {f"{get(r).partition(' + ')[0]} epochs" for r in records if " + " in get(r)}
    return _distinct([r for r in records if get(r) not in begun], get)


def _trained_on(record: Record) -> str:
    places = record.get("trained_on") or []
    texts = []
    for place in [places] if isinstance(places, dict) else places:
        said = dict(place)
        stages = said.pop("stages", ())
        parts = [f"{', '.join(stages)} stage{'s' * (len(stages) > 1)}"] if stages else []
        texts.append(", ".join([*parts, *(f"{k} {v}" for k, v in said.items())]))
    return "; ".join(texts)


def _facts(records: Sequence[Record]) -> tuple[tuple[str, str], ...]:
    """What was run, as (name, text); facts that no record holds are left out."""

    def field(name: str) -> Callable[[Record], Any]:
        return lambda r: r.get(name)

    def digest(split: str) -> Callable[[Record], Any]:
        return lambda r: (r.get("data_sha256") or {}).get(split)

    def count(r: Record) -> str | None:
        return f"{r['n_train']:,}" if r.get("n_train") else None

    def jpeg(r: Record) -> str | None:
        return {True: "yes", False: "no"}.get(r.get("jpeg"))

    facts = (
        ("Data source", _distinct(records, field("data_source"))),
        ("Data note", _distinct(records, field("data_note"))),
        ("Data that are missing", _distinct(records, field("data_missing"))),
        ("Put through JPEG by the command", _distinct(records, jpeg)),
        ("Training images", _distinct(records, count)),
        ("SHA-256, training", _distinct(records, digest("train"))),
        ("SHA-256, test", _distinct(records, digest("test"))),
        ("Network", _distinct(records, field("network"))),
        ("Latent dimensions", _distinct(records, field("latent_dim"))),
        ("Schedule", _distinct(records, epochs)),
        ("Seeds", _distinct(records, field("seed"))),
        ("Machine", _distinct(records, field("machine"))),
        ("Trained elsewhere, on", _distinct(records, _trained_on)),
        ("Versions", _versions(records)),
    )
    return tuple((name, text) for name, text in facts if text)


def _training_table(records: Sequence[Record]) -> Table | None:
    """Each training's length, end and cost, once for all protocols."""
    header = ("Method", "Trial", "Seed", "Steps", "log gamma", "Second steps", "log gamma, second")
    header += ("First stage", "Second stage", "Scoring", "Status")
    rows: dict[tuple, list[str]] = {}
    scoring: dict[tuple, float] = {}
    for r in records:
        seconds = r.get("seconds") or {}
        key = tuple(str(r.get(k)) for k in ("method", "network", "trial", "seed", "epochs"))
        scoring[key] = scoring.get(key, 0.0) + (seconds.get("scoring") or 0.0)
        row = [
            method_label(r),
            _text(r.get("trial")),
            _text(r.get("seed")),
            _text(r.get("steps"), ","),
            _text(r.get("log_gamma"), ".3f"),
            _text(r.get("second_steps") or None, ","),
            _text(r.get("log_gamma_z"), ".3f"),
            *(_duration(seconds.get(k)) for k in ("first", "second")),
            _duration(scoring[key] or None),
            str(r.get("status", "ok")),
        ]
        if key not in rows or rows[key][-1] == "ok":
            rows[key] = row
    if not rows:
        return None
    order = in_order((method for method, *_ in rows), METHODS)
    ranked = sorted(rows, key=lambda k: order.index(k[0]))
    note = (
        "VAE (learned gamma) is the first stage of the 2-Stage VAE: one training serves both rows."
    )
    both = {"vae-learned-gamma", "two-stage"} <= {k[0] for k in rows}
    return Table("Training", header, tuple(tuple(rows[k]) for k in ranked), (note,) * both)


def last_epoch(run: Mapping[str, Any]) -> Table | None:
    """Both stages' quantities after their last epoch; run as evaluate.report.write_report's."""
    history = run.get("history") or {}
    terms = terms_of((run.get("settings") or {}).get("model"))
    names = {"loss": "Loss", "kl": terms.kl, "reconstruction": terms.reconstruction.capitalize()}
    if terms.gamma:
        names["log_gamma"] = "log gamma"
    rows = []
    for stage in ("first", "second"):
        values = {k: v for k, v in (history.get(stage) or {}).items() if k in names and len(v)}
        if values:
            epochs = max(len(v) for v in values.values())
            cells = (_text(values[k][-1], ".3f") if k in values else "" for k in names)
            rows.append((stage.capitalize(), str(epochs), *cells))
    if not rows:
        return None
    note = f"Mean over the last epoch, in {terms.unit}."
    return Table("Last epoch", ("Stage", "Epochs", *names.values()), tuple(rows), (note,))


def _text(value: Any, form: str = "") -> str:
    return "" if value is None else format(value, form)


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return ""
    if seconds < 60:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def caption_of(name: str) -> str:
    return CAPTIONS.get(name, name.replace("_", " "))


def relative(path: str | os.PathLike, folder: Path) -> str:
    return Path(os.path.relpath(path, folder)).as_posix()
