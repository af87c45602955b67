"""Records of results.json -> rows of tables: which stand together, and what they are called.

Records are averaged only over trials; whatever else differs (protocol, features, preset, schedule,
data, number of images) makes a row of its own. Smoke scores, which cannot be compared with the
paper's, never stand in the paper's tables.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from experiments import paper, presets
from experiments.paper import OFFICIAL_FEATURES
from experiments.settings import in_epochs, is_first_stage

Record = Mapping[str, Any]

PAPER_PROTOCOL = "paper"
TABLE2_DATASETS = tuple(paper.TABLE2["two-stage"])

_PROTOCOLS = {
    PAPER_PROTOCOL: "generated images are stretched to [0, 1] one by one and scored unrounded; "
    "real images are scored as they are.",
    "standard": "generated images are rounded to 8 bits and not stretched.",
}

METHODS = (*paper.ROWS, *paper.ABLATIONS, *paper.BEYOND, *paper.SECOND_STAGE)

# Everything that must agree before two records count as trials of one experiment.
_SETTINGS = (
    *("dataset", "data_source", "data_note", "data_missing", "n_train"),
    *("method", "network", "latent_dim"),
    *("preset", "epochs", "second_epochs", "batch_size", "learning_rate"),
    *("gamma_speed", "jpeg"),
    *("protocol", "features", "features_note", "smoke"),
)

SAME_EXPERIMENT = (*_SETTINGS, "data_sha256", "features_fingerprint", "n_real", "n_fake")

# What concerns the training alone: in what way its images were scored makes no difference.
_SCORING = ("protocol", "features", "features_note", "smoke")
SAME_TRAINING = (*(f for f in _SETTINGS if f not in _SCORING), "data_sha256")

# Names of smoke scores: those of random features are the records' own; a score on an Inception
# network from a run too small to compare is called neither FID nor KID.
SMOKE_COLUMNS = {
    "fd-random": "fd-random",
    "kd-random": "kd-random",
    "kd-random-std": "kd-random-std",
    "fid": "smoke-fid",
    "kid": "smoke-kid",
}


@dataclass
class Group:
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

    def trials(self, notes: Notes) -> str:
        """How many trials the score stands on; a note for each that failed beside them."""
        done, total = len(self.records), len(self.records) + len(self.failures)
        text = f"{done} of {total}" if self.failures else str(done)
        for failure in self.failures if self.records else ():
            text = notes.mark(text, f"Trial {failure.get('trial')} {_reason(failure)}")
        return text


class Notes:
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


def is_smoke(record: Record) -> bool:
    """Return whether a record's scores cannot be compared with the paper's."""
    return bool(record.get("smoke")) or str(record.get("features") or "").startswith("random")


def is_scored(record: Record) -> bool:
    """Return whether a record is a run's that ended well."""
    return record.get("status", "ok") == "ok"


def data_label(record: Record) -> str:
    """Name a record's data as tables do: the paper's name only for the paper's own data set.

    A sample or a stand-in goes by the name of its source. A data note says that the data are not
    what their name promises, or not all of it.
    """
    dataset = str(record.get("dataset"))
    if not _is_official(record):
        return str(record["data_source"])
    if _data_notes(record):
        return f"{dataset} (other data)"
    return paper.DATASETS.get(dataset, dataset)


def is_papers_data(record: Record) -> bool:
    """Return whether a record is about the paper's own images, as far as it says."""
    return _is_official(record) and not _data_notes(record)


def _data_notes(record: Record) -> list[str]:
    """What a record says of its data: the user's note, and what is missing."""
    return [record[key] for key in ("data_note", "data_missing") if record.get(key)]


def _is_official(record: Record) -> bool:
    return record.get("data_source") in (None, "official", "local")


def method_label(record: Record) -> str:
    """Name a record's method as the paper does, with whatever departs from the paper's network."""
    name = paper.method_name(str(record.get("method")))
    network, latent_dim = record.get("network"), record.get("latent_dim")
    of_table2 = in_table2(record)
    extra = []
    if network not in (None, paper.TABLE2_NETWORK if of_table2 else paper.TABLE1_NETWORK):
        extra.append(f"network {network}")
    if latent_dim not in (None, paper.TABLE1_LATENT_DIM) and not of_table2:
        extra.append(f"{latent_dim} latent dimensions")
    return f"{name}, {', '.join(extra)}" if extra else name


def naming(record: Record, notes: Notes) -> tuple[str, str]:
    """The cells that say what a row is about: data and method."""
    said = " ".join(map(_sentence, filter(None, (*_data_notes(record), _jpeg_note(record)))))
    assumptions = " ".join(assumed(record))
    return notes.mark(data_label(record), said), notes.mark(method_label(record), assumptions)


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."


def as_prepared(record: Record) -> bool:
    """Return whether a record's images went through JPEG if, and only if, the authors' did."""
    published = presets.PAPER.get(str(record.get("dataset")))
    jpeg = record.get("jpeg")
    return None in (published, jpeg) or jpeg == published.jpeg


def comparable(record: Record) -> bool:
    """Return whether a record was scored as the paper's numbers were: protocol, network, images."""
    official = record.get("features") == OFFICIAL_FEATURES
    numbers = {record.get("n_fake"), record.get("n_real")} <= {None, paper.SCORED_IMAGES}
    return record.get("protocol") == PAPER_PROTOCOL and official and numbers and as_prepared(record)


def assumed(record: Record) -> tuple[str, ...]:
    """What had to be assumed for a record that the paper has a number for, a sentence each."""
    if published_fid(record) is None:
        return ()
    return presets.assumed(str(record.get("method")), str(record.get("dataset")))


def as_trained(record: Record) -> bool:
    """Return whether a record's model had the published schedule, as far as the record says."""
    published = presets.PAPER.get(str(record.get("dataset")).removesuffix("-standin"))
    if published is None:
        return True
    if record.get("second_epochs") not in (None, 0, published.second_epochs):  # 0: no second stage
        return False
    fields = ("epochs", "batch_size", "learning_rate", "gamma_speed")
    return all(record.get(f) in (None, getattr(published, f)) for f in fields)


def _jpeg_note(record: Record) -> str | None:
    if as_prepared(record):
        return None
    if record["jpeg"]:
        return "The command put the images through JPEG once; the authors' had not been."
    return "The command did not put the images through JPEG; the authors' had been, once."


def _is_beyond(record: Record) -> bool:
    """Whether a record's method is none of the paper's."""
    return record.get("method") in (*paper.BEYOND, *paper.SECOND_STAGE)


def in_table2(record: Record) -> bool:
    """Return whether a record is about the data of the paper's Table 2."""
    return str(record.get("dataset")) in TABLE2_DATASETS


def published_fid(record: Record) -> paper.Published | None:
    """The paper's FID for a record's settings; None if its data are not the paper's."""
    if is_smoke(record) or not is_papers_data(record):
        return None
    return paper.published_fid(
        record.get("method"), record.get("dataset"), record.get("network"), record.get("latent_dim")
    )


def select(
    records: Iterable[Record],
    protocol: str | None,
    datasets: Sequence[str] | None,
    smoke: bool,
    beyond: bool = False,
) -> list[Record]:
    """The records a table is about; rows that the paper does not have only with ``beyond``.

    protocol, datasets: None for any.
    """
    return [
        r
        for r in records
        if is_smoke(r) == smoke
        and (beyond or not _is_beyond(r))
        and (protocol is None or r.get("protocol") in (protocol, None))
        and (datasets is None or r.get("dataset") in datasets)
    ]


def by_experiment(records: Iterable[Record]) -> list[Group]:
    """Gather the trials of each experiment; a failure joins the experiment it belongs to.

    Raises ValueError if two records claim the same trial.
    """
    scored: dict[str, Group] = {}
    failed = []
    for record in records:
        if not is_scored(record):
            failed.append(record)
            continue
        group = scored.setdefault(_key(record, SAME_EXPERIMENT), Group([], []))
        if trial_of(record) in map(trial_of, group.records):
            raise ValueError(
                f"expected one record for each trial, got two for trial {record.get('trial')} of "
                f"{record.get('method')} on {record.get('dataset')} "
                f"(protocol {record.get('protocol')}): remove one from results.json"
            )
        group.records.append(record)
    groups = list(scored.values())
    for record in failed:
        group = next((g for g in groups if _same_settings(record, g.first)), None)
        if group is None:
            groups.append(Group([], [record]))
        else:
            group.failures.append(record)
    return groups


def trial_of(record: Record) -> tuple:
    """What tells the trials of one experiment apart."""
    return record.get("trial"), record.get("seed")


def compared(record: Record, field: str) -> Any:
    """A field as it counts in a comparison of records.

    Files of one's own and downloaded ones are the same data if their checksums, which are compared
    too, are the same.
    """
    value = record.get(field)
    return "official" if (field, value) == ("data_source", "local") else value


def _key(record: Record, fields: Sequence[str]) -> str:
    return json.dumps([compared(record, f) for f in fields], sort_keys=True, default=str)


def _same_settings(failed: Record, other: Record) -> bool:
    """Whether a failed record, which may lack what it did not live to see, belongs to another."""
    return all(
        failed.get(f) is None or compared(failed, f) == compared(other, f) for f in _SETTINGS
    )


def _reason(record: Record) -> str:
    status = str(record.get("status"))
    return status if status.startswith("failed") else f"failed: {status}"


def by_training(records: Iterable[Record], fields: Sequence[str]) -> list[Group]:
    """The trials of each training, one record a trial however often it was scored.

    fields: what must agree besides SAME_TRAINING.
    """
    groups: dict[str, Group] = {}
    for record in records:
        group = groups.setdefault(_key(record, (*SAME_TRAINING, *fields)), Group([], []))
        if trial_of(record) not in map(trial_of, group.records):
            group.records.append(record)
    return list(groups.values())


def arranged(groups: Iterable[Group], methods: Iterable[str] = METHODS) -> list[Group]:
    """The groups by data set, and for each by method, in the order in which tables have them."""
    groups = list(groups)
    datasets = in_order((str(g.first.get("dataset")) for g in groups), paper.DATASETS)
    methods = in_order((str(g.first.get("method")) for g in groups), methods)
    return sorted(
        groups,
        key=lambda g: (
            datasets.index(str(g.first.get("dataset"))),
            methods.index(str(g.first.get("method"))),
        ),
    )


def in_order(names: Iterable[str], known: Iterable[str]) -> list[str]:
    """The distinct names: the known ones in their order, then the others as they come."""
    names = list(dict.fromkeys(names))
    return [n for n in known if n in names] + [n for n in names if n not in set(known)]


def protocol_note(protocol: str) -> str:
    """A sentence that says what a protocol does."""
    known = f": {_PROTOCOLS[protocol]}" if protocol in _PROTOCOLS else "."
    return f"Protocol `{protocol}`{known}"


def protocol_name(protocol: str) -> str:
    """A protocol as titles have it."""
    return "the paper's protocol" if protocol == PAPER_PROTOCOL else f"{protocol} protocol"


def titled(title: str, smoke: bool, otherwise: str = "More than the paper") -> str:
    """A table's title behind what kind of table it is."""
    return f"{'Smoke scores' if smoke else otherwise}: {title}"


def provenance(record: Record, notes: Notes) -> tuple[str, str, str]:
    """The cells that say how a score came about: schedule, images, features."""
    n_fake, n_real = record.get("n_fake"), record.get("n_real")
    images = f"{n_fake:,} / {n_real:,}" if n_fake and n_real else ""
    features = str(record.get("features") or "")
    return schedule(record), images, notes.mark(features, record.get("features_note"))


def schedule(record: Record) -> str:
    """The cell that says how long a model was trained."""
    return ": ".join(str(part) for part in (record.get("preset"), epochs(record)) if part)


def epochs(record: Record) -> str:
    """The epochs that a row rests on: of a first stage sampled alone, no second stage's."""
    count = record.get("epochs")
    if count and is_first_stage(str(record.get("method"))):
        return in_epochs(count)
    return str(record.get("schedule") or "")
