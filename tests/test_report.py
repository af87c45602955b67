"""Reports on made-up runs: HTML that parses, stays offline and escapes, and its Markdown twin."""

from __future__ import annotations

import base64
import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest

from evaluate import figures
from evaluate.report import write_report
from evaluate.report_contents import sections_of, smoke_reasons
from tests.test_tables import SMOKE, made_up

VOID = {"meta", "img", "br", "hr", "link", "input"}
EVIL = '<script>alert("x")</script>'


class Page(HTMLParser):
    """Collects tags and text, and checks that every tag is closed where it should be."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict]] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("script", "style"):
            self.text += data

    def all(self, tag: str) -> list[dict]:
        return [attrs for name, attrs in self.tags if name == tag]


def made_up_runs(folder: Path, datasets=("mnist",)):
    """Runs whose pictures and histories are made up."""
    images = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 1), dtype=np.uint8)
    history = {"first": {"loss": [3.0, 1.5], "log_gamma": [0.0, -0.125]}, "second": {}}
    return [
        {
            "dataset": dataset,
            "title": f"2-Stage VAE on {dataset}",
            "folder": folder / "runs" / dataset,
            "figures": {
                "real": figures.image_grid(images, folder / "figures" / f"{dataset} test.png"),
                "an_extra": folder / "figures" / "absent.png",
            },
            "settings": {"first": {"epochs": 2}, "note": "made up"},
            "history": history,
        }
        for dataset in datasets
    ]


@pytest.fixture
def written(tmp_path):
    """A report on two data sets, one of them failed: (folder, Markdown, HTML text)."""
    records = [
        made_up(
            seconds={"first": 3700.0, "second": 75.0, "scoring": 5.0},
            steps=375000,
            second_steps=750000,
            log_gamma=-3.5,
            log_gamma_z=-0.5,
            machine="made-up machine",
            trained_on={"stages": ["first", "second"], "backend": "jax", "device": "made-up one"},
            versions={"python": "3.11", "keras": "3.15.1"},
        ),
        made_up(dataset="celeba", status="failed: made-up reason", fid=None, kid=None),
    ]
    runs = made_up_runs(tmp_path, ("mnist", "celeba"))
    markdown, page = write_report(tmp_path, records, runs, "python reproduce_paper.py", "paper")
    return tmp_path, markdown.read_text(), page.read_text()


def test_html_parses_and_asks_nothing_of_the_network(written):
    folder, _, text = written
    page = Page(text)
    for tag, attrs in page.tags:
        assert "src" not in attrs or attrs["src"].startswith("data:image/png;base64,")
        assert tag not in ("link", "iframe", "object", "embed")
        if "href" in attrs and re.match(r"\w+:|//", attrs["href"]):
            assert tag == "a"
            assert attrs["href"] == "https://arxiv.org/abs/1903.05789"
    style = re.search(r"<style>(.*?)</style>", text, re.S)[1]
    script = re.search(r"<script>(.*?)</script>", text, re.S)[1]
    assert not re.search(r"url\(|@import|http|fetch\(|XMLHttp|import\(", style + script)
    (policy,) = [m for m in page.all("meta") if "http-equiv" in m]
    assert policy["content"].startswith("default-src 'none'")
    for attrs in page.all("a"):
        if attrs["href"].startswith("#"):
            assert attrs["href"][1:] in {a.get("id") for a in page.all("section")}
        elif not attrs["href"].startswith("http"):
            assert (folder / unquote(attrs["href"])).is_file()


def test_html_carries_the_pictures(written):
    folder, _, text = written
    images = [a for a in Page(text).all("img") if "src" in a]
    files = [folder / "figures" / f"{d} test.png" for d in ("mnist", "celeba")]
    carried = [base64.b64decode(a["src"].split(",")[1]) for a in images]
    assert carried == [f.read_bytes() for f in files]
    assert {(a["width"], a["height"]) for a in images} == {("134", "134")}
    assert all(a["alt"] == "Test images" for a in images)


def test_html_links_to_the_pictures_of_later_trials(tmp_path):
    """The page of --trials 10 would be ten times as large, and is written after every run."""
    runs = []
    for number, (model, trial) in enumerate([("a", 0), ("a", 1), ("b", 3), ("a", 2), ("b", 4)]):
        image = np.full((1, 2, 2), 40 * number, np.uint8)
        run = {
            "dataset": "mnist",
            "title": f"{model}, trial {trial}",
            "settings": {"model": model, "trial": trial, "seed": 1_000_003 * trial, "epochs": 2},
            "figures": {
                "real": figures.image_grid(image, tmp_path / f"a run {number}" / "real.png"),
                "gone": tmp_path / f"gone {number}",
            },
        }
        runs.append(run)
    runs.append({**runs[0], "settings": {**runs[0]["settings"], "epochs": 3}})
    runs += [{"dataset": "mnist", "title": "t", "figures": runs[1]["figures"]}] * 2  # no settings
    page = Page(write_report(tmp_path, [], runs, "x", "lite")[1].read_text())
    carried = [base64.b64decode(a["src"].split(",")[1]) for a in page.all("img") if "src" in a]
    assert carried == [runs[i]["figures"]["real"].read_bytes() for i in (0, 2, 5, 6, 7)]
    links = [unquote(a["href"]) for a in page.all("a") if a["href"].endswith(".png")]
    assert links == [f"a run {number}/real.png" for number in (1, 3, 4)]
    for number in range(5):
        assert f"gone: missing, expected at gone {number}" in page.text


@pytest.mark.parametrize("which", ["markdown", "html"])
def test_both_tell_what_was_run(written, which):
    _, markdown, text = written
    shown = markdown if which == "markdown" else Page(text).text
    for expected in (
        "python reproduce_paper.py",
        "made-up machine",
        "first, second stages, backend jax, device made-up one",
        "python 3.11, keras 3.15.1",
        "400 + 800 epochs",
        "1 h 1 min",
        "1 min 15 s",
        "375,000",
        "-3.500",
        "12.6 ± 1.5",
        "failed: made-up reason",
        "-0.125",
        "an extra: missing, expected at figures/absent.png",
        "runs/mnist",
        "could not be transcribed",
    ):
        assert expected in shown, expected
    assert "cannot be compared" not in shown
    assert "No scores yet" not in shown


@pytest.mark.parametrize(
    ("model", "header", "unit"),
    [
        ("two-stage", "| KL | Reconstruction | log gamma |", "in nats per example"),
        ("vae-cross-entropy", "| KL | Reconstruction |", "in nats per example"),
        (
            "wae-mmd",
            "| MMD penalty | Weighted squared error |",
            "in arbitrary units per example",
        ),
    ],
)
def test_the_last_epoch_is_named_by_what_the_model_minimises(tmp_path, model, header, unit):
    first = {"loss": [3.0], "kl": [1.0], "reconstruction": [2.0], "log_gamma": [0.0]}
    run = {
        "dataset": "mnist",
        "title": "made up",
        "settings": {"model": model},
        "history": {"first": first, "second": {}},
    }
    markdown, page = write_report(tmp_path, [], [run], "x", "lite")
    (line,) = (row for row in markdown.read_text().splitlines() if row.startswith("| Stage"))
    assert line == f"| Stage | Epochs | Loss {header}"
    assert f"Mean over the last epoch, {unit}." in markdown.read_text()
    text = Page(page.read_text()).text
    assert line.replace("| ", "").replace(" |", "").replace(" ", "") in text.replace(" ", "")
    assert unit in text


def test_the_summary_counts_a_training_once(tmp_path):
    """One training gives two rows under two protocols; its time is not four times as long."""
    stages = {"first": 3000.0, "second": 1500.0}
    rows = [
        made_up(method=m, protocol=p, seconds={**stages, "second": s, "scoring": 10.0})
        for m, s in (("vae-learned-gamma", 0.0), ("two-stage", 1500.0))
        for p in ("paper", "standard")
    ]
    renormalised = made_up(method="two-stage-renormalised", seconds=stages)
    ablation = made_up(method="two-stage-no-skip", seconds={"first": 3000.0, "second": 600.0})
    other = made_up(trial=1, status="failed: made-up", seconds={"first": 60.0}, machine="made up")
    records = [*rows, renormalised, ablation, other]
    paths = write_report(tmp_path, records, [], "x", "paper")
    page = Page(paths[1].read_text())
    for text in (paths[0].read_text(), re.sub(r"(?<=[a-z])(?=[0-9])", ": ", page.text)):
        assert "3 models" in text
        # 3000 + 1500 + 600 + 60 s, the ablation's first stage being the other's; 4 x 10 s
        assert "1 h 26 min of training, 40 s of scoring" in text
        assert "1 of 7 rows" in text
        assert "made up" in text


def test_versions_are_gathered_by_package(tmp_path):
    versions = [{"python": "3.11", "keras": "3.14"}, {"python": "3.11", "keras": "3.15"}, {}]
    records = [made_up(trial=i, versions=v) for i, v in enumerate(versions)]
    paths = write_report(tmp_path, records, [], "x", "paper")
    assert "- Versions: python 3.11, keras 3.14 and 3.15\n" in paths[0].read_text()


def test_what_the_paper_lacks_is_folded(tmp_path):
    extra = {"precision": 0.5, "recall": 0.5, "density": 1.0, "coverage": 0.5}
    _, path = write_report(tmp_path, [made_up(**extra)], [], "x", "paper")
    scores = path.read_text().split("<h2>Scores</h2>")[1].split("</section>")[0]
    unfolded = re.sub(r"<details>.*?</details>", "", scores, flags=re.S)
    assert "Coverage" in scores
    assert "Coverage" not in unfolded
    assert "14.0" in unfolded


def test_markdown_links_lead_to_files(written):
    folder, markdown, _ = written
    links = re.findall(r"\]\(([^)]+)\)", markdown)
    files = [unquote(x) for x in links if x.startswith(("figures/", "tables/"))]
    assert len(files) == 2 + 3 * 2
    assert all((folder / f).is_file() for f in files)


def test_smoke_runs_carry_a_banner(tmp_path):
    records = [made_up(**SMOKE | {"n_fake": 500}), made_up(**SMOKE, protocol="standard")]
    markdown, page = write_report(tmp_path, records, made_up_runs(tmp_path), "x", "quick")
    banner = "Smoke run: these scores cannot be compared with the paper's"
    parsed = Page(page.read_text())
    assert [a["class"] for a in parsed.all("aside")] == ["banner"]
    for text in (parsed.text, markdown.read_text()):
        assert banner in text
        for why in ("seeded random network", "mnist-sample", "Only 500 generated", "quick: 8 + 15"):
            assert why in text
        for paper_value in ("12.6", "54.5", "Difference", "Within"):
            assert paper_value not in text


def test_the_banner_says_when_only_some_scores_are_smoke(tmp_path):
    markdown, _ = write_report(tmp_path, [made_up(), made_up(**SMOKE)], [], "x", "quick")
    assert "some of these scores cannot be compared" in markdown.read_text()
    assert smoke_reasons([made_up()]) == []
    few = made_up(n_fake=2000, smoke=True)
    assert len(smoke_reasons([few])) == 1  # few images, but the paper's own
    assert len(smoke_reasons([few | {"n_real": 1000}])) == 2
    (short,) = smoke_reasons([made_up(smoke=True, epochs=10, schedule="10 + 800 epochs")])
    assert short == "Training is not the published one (paper: 10 + 800 epochs)."
    records = [
        made_up(smoke=True, epochs=n, schedule=f"{n} + 9 epochs", dataset=d, method=m)
        for n, d in ((8, "mnist"), (2, "celeba"))
        for m in ("vae-learned-gamma", "two-stage")
    ]
    records.append(made_up(smoke=True, epochs=5, schedule="5 epochs", method="wae-mmd"))
    (all_of_them,) = smoke_reasons(records)
    assert "(paper: 8 + 9 epochs, paper: 2 + 9 epochs, paper: 5 epochs)" in all_of_them
    assert "not the paper's own" in smoke_reasons([{**few, "data_note": "a copy"}])[0]
    alone = made_up(smoke=True)
    assert smoke_reasons([alone]) == ["These runs are marked as smoke runs."]


def test_nothing_to_report_yet(tmp_path):
    markdown, page = write_report(tmp_path, [], [], "x", "lite")
    assert "No scores yet." in markdown.read_text()
    assert "No scores yet." in Page(page.read_text()).text


def test_hostile_text_is_escaped(tmp_path):
    record = made_up(
        dataset=EVIL,
        data_source=EVIL,
        data_note=EVIL,
        method=EVIL,
        schedule=EVIL,
        features=EVIL,
        features_note=EVIL,
        machine=EVIL,
        versions={EVIL: EVIL},
        data_sha256={"train": EVIL},
    )
    picture = figures.image_grid(np.zeros((1, 2, 2), np.uint8), tmp_path / "a.png")
    run = {
        "dataset": EVIL,
        "title": EVIL,
        "folder": tmp_path / EVIL,
        "figures": {EVIL + '" onload="x': picture, "gone": tmp_path / EVIL},
        "settings": {EVIL: {"deep": EVIL, "~~~": "~~~~"}},
    }
    records = [record, made_up(**{**record, "protocol": "standard", "status": f"failed: {EVIL}"})]
    command = f"~~~ {EVIL}"
    paths = write_report(tmp_path / "out", records, [run], command, EVIL)
    markdown, page = (path.read_text() for path in paths)
    assert page.count("<script>") == 1
    parsed = Page(page)
    assert not any("onload" in attrs for _, attrs in parsed.tags)
    assert EVIL in parsed.text
    fenced = r"^(~{3,})\w+\n.*?\n\1$"
    outside = re.sub(fenced, "", markdown, flags=re.S | re.M)
    assert markdown.count("alert") > outside.count("alert") > 5
    assert "<script" not in outside


def test_a_file_that_is_no_picture_is_not_embedded(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(b"GIF89a made up")
    run = {"dataset": "mnist", "title": "t", "figures": {"samples": path}}
    _, page = write_report(tmp_path, [], [run], "x", "lite")
    assert "samples: missing, expected at a.png" in Page(page.read_text()).text


def test_reports_are_replaced_whole(tmp_path):
    write_report(tmp_path, [made_up()], [], "first", "lite")
    write_report(tmp_path, [made_up()], [], "second", "lite")
    assert {p.name for p in tmp_path.iterdir()} == {"report.md", "report.html", "tables"}
    assert "first" not in (tmp_path / "report.md").read_text()


def test_trainings_stand_in_the_order_of_the_other_tables():
    methods = ["two-stage-no-skip", "two-stage-joint-merged", "unheard-of", "two-stage-joint"]
    methods += ["two-stage", "vae-cross-entropy"]
    (section,) = sections_of([made_up(method=method) for method in methods], ())
    assert [row[0] for row in section.training.rows] == [
        "VAE (cross-entr.)",
        "2-Stage VAE",
        "2-Stage VAE, trained jointly (fused)",
        "2-Stage VAE, trained jointly (both penalties)",
        "2-Stage VAE, no skip connections",
        "unheard-of",
    ]
