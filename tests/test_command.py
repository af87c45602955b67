"""reproduce_paper.py from end to end, and its answers to mistakes."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import reproduce_paper
from experiments.errors import UserError
from tests.conftest import ROOT
from training import plan as planning

TINY = ["--preset", "quick", "--epochs", "1", "--second-epochs", "1", "--images", "64"]


def run(capsys, *arguments):
    """Exit code, standard output and standard error of the command."""
    code = reproduce_paper.main([str(a) for a in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def one_line(error):
    lines = error.strip().splitlines()
    assert len(lines) == 1, error
    assert lines[0].startswith("reproduce_paper.py: ")
    return lines[0]


def test_end_to_end(tmp_path, capsys):
    arguments = ["--datasets", "mnist", *TINY, "--out", tmp_path]
    code, _, err = run(capsys, *arguments)
    assert code == 0, err
    records = json.loads((tmp_path / "results.json").read_text())
    cells = {(r["dataset"], r["method"], r["protocol"]) for r in records}
    assert cells == {
        ("mnist", m, p) for m in ("vae-learned-gamma", "two-stage") for p in ("paper", "standard")
    }
    for record in records:
        assert record["status"] == "ok"
        assert record["smoke"] is True
        assert record["fid"] is None
        assert record["kid"] is None
        assert record["fd-random"] > 0
        assert record["features"] == "random-conv"
        assert (record["n_real"], record["n_fake"]) == (64, 64)
        assert (record["epochs"], record["steps"]) == (1, 31)
        assert record["log_gamma"] < 0
        if record["method"] == "two-stage":
            assert record["mmd_n"] == 64
            assert record["mmd_u"] is not None
        assert set(record["versions"]) >= {"python", "tensorflow", "keras", "two-stage-vae"}
        assert re.fullmatch("[0-9a-f]{64}", record["data_sha256"]["train"])
    page = (tmp_path / "report.html").read_text()
    assert "can&#x27;t be compared" in page or "cannot be compared" in page
    assert "mnist-sample" in page
    assert (tmp_path / "report.md").exists()
    assert list((tmp_path / "tables").glob("*.tex"))
    for name in (
        "real",
        "samples",
        "samples-vae-learned-gamma",
        "samples-two-stage",
        "reconstructions",
        "curves",
        "figure1b",
        "figure2",
        "interpolations",
        "neighbours",
    ):
        picture = tmp_path / "mnist-infogan-two-stage-trial0" / "figures" / f"{name}.png"
        assert picture.read_bytes().startswith(b"\x89PNG")
    folder = tmp_path / "mnist-infogan-two-stage-trial0"
    assert (folder / "saved_model" / "1" / "saved_model.pb").exists()

    # The same command again does nothing anew.
    before = (folder / "records.json").stat().st_mtime_ns
    code, _, err = run(capsys, *arguments)
    assert code == 0
    assert (folder / "records.json").stat().st_mtime_ns == before
    assert json.loads((tmp_path / "results.json").read_text()) == records

    # Other settings into the same folder are refused before anything happens.
    code, _, err = run(capsys, *arguments, "--epochs", "2")
    assert code == 2
    assert "epochs: 1 -> 2" in one_line(err)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "--all, --tables, or --datasets"),
        (["--all", "--preset", "slow"], "unknown preset 'slow': expected one of quick"),
        (["--datasets", "svhn"], "unknown data set 'svhn': expected one of mnist"),
        (["--all", "--methods", "gan"], "unknown method 'gan': expected one of vae-cross"),
        (["--all", "--tables", "4"], "unknown table '4': expected one of 1, 2, kid, 3, joint, all"),
        (["--tables", "2", "--datasets", "mnist"], "have no such data sets and methods"),
        (["--all", "--network", "unet"], "unknown network 'unet': expected one of infogan"),
        (["--datasets", "mnist", "--network", "wae"], "mnist with wae: "),
        (["--all", "--epochs", "0"], "--epochs must be at least 1, got 0"),
        (["--all", "--epochs", "few"], "invalid int value: 'few'"),
        (
            ["--all", "--protocols", "both"],
            "unknown protocol 'both': expected one of paper, standard",
        ),
        (["--all", "--images", "1"], "--images must be at least 2"),
        (["--all", "--seed", "-1"], "--seed must be from 0"),
        (["--all", "--data-dir", ""], "--data-dir needs a folder, got ''"),
        (["--merge", "runs", ""], "--merge needs a folder, got ''"),
        (["--all", "--fast"], "unrecognized arguments: --fast"),
        (["--all", "--trial", "3"], "unrecognized arguments: --trial 3"),  # training.on_jax's
        (["--all", "--data-note", "mnist"], "--data-note takes DATASET=TEXT"),
        (["--all", "--datasets", "mnist"], "leave one out"),
        (["--all", "--cores", "4"], "--cores is for --engine ray"),
        (["--all", "--features", "random", "--inception", "x"], "leave out --inception"),
        (
            ["--datasets", "mnist", "--data-note", "celeba=faces"],
            "--data-note is about celeba, whose files none",
        ),
        (["--merge", "a", "--dry-run", "--all"], "--merge runs alone, without --all, --dry-run"),
    ],
)
def test_mistakes_in_the_options(capsys, tmp_path, arguments, said):
    code, _, err = run(capsys, *arguments, "--out", tmp_path / "out")
    assert code == 2
    assert said in one_line(err)
    assert not (tmp_path / "out").exists()


def test_an_out_that_is_empty_is_not_the_default(capsys):
    code, _, err = run(capsys, "--all", "--preset", "quick", "--out", "")
    assert code == 2
    assert "--out needs a folder, got ''" in one_line(err)


@pytest.fixture
def offline(monkeypatch):
    """No downloads: as on a machine without a network."""
    import data.download

    def no_network(*args, **kwargs):
        raise OSError("network is unreachable")

    monkeypatch.setattr("socket.create_connection", no_network)
    return data.download


@pytest.mark.parametrize(
    "arguments",
    [
        ["--datasets", "svhn"],
        ["--all", "--epochs", "0"],
        ["--all", "--network", "vgg"],
        ["--theory", "--shard", "1/2"],
    ],
    ids=" ".join,
)
def test_a_mistyped_option_is_one_line_before_tensorflow_says_anything(arguments):
    program = "import sys; sys.modules['tensorflow'] = None  # importing it fails\n"
    program += "import reproduce_paper; sys.exit(reproduce_paper.main())"
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert one_line(done.stderr)
    assert done.stdout == ""


def test_no_data_and_no_network(capsys, tmp_path, offline):
    arguments = ["--datasets", "mnist", "--features", "random", "--data-dir", tmp_path / "data"]
    code, _, err = run(capsys, *arguments, "--out", tmp_path / "out")
    assert code == 2
    line = one_line(err[err.index("reproduce_paper.py: ") :])
    assert "train-images-idx3-ubyte.gz" in line
    assert str(tmp_path / "data") in line
    assert "https://" in line


def test_a_damaged_data_file_is_named(capsys, tmp_path):
    folder = tmp_path / "data" / "mnist"
    folder.mkdir(parents=True)
    for name in ("train-images-idx3-ubyte.gz", "t10k-images-idx3-ubyte.gz"):
        (folder / name).write_bytes(b"not gzip")
    arguments = ["--datasets", "mnist", "--features", "random", "--data-dir", tmp_path / "data"]
    code, _, err = run(capsys, *arguments, "--out", tmp_path / "out")
    assert code == 2
    assert str(folder / "train-images-idx3-ubyte.gz") in one_line(err)


def test_an_output_folder_that_is_a_file(capsys, tmp_path):
    (tmp_path / "out").write_text("in the way")
    code, _, err = run(capsys, "--all", *TINY, "--out", tmp_path / "out")
    assert code == 2
    assert "can't be written" in one_line(err)
    assert "--out" in err


def test_a_full_disk(capsys, tmp_path, monkeypatch):
    usage = planning.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(planning.shutil, "disk_usage", lambda path: usage._replace(free=2**20))

    def mebibytes(text):
        said = re.search(r"has 1 MiB free, the runs need about ([\d,]+) MiB", text)
        return int(said[1].replace(",", ""))

    def needed(*datasets):
        code, _, err = run(capsys, "--datasets", *datasets, *TINY, "--out", tmp_path / "out")
        assert code == 2
        return mebibytes(one_line(err))

    one, two = needed("mnist"), needed("mnist", "fashion_mnist")
    # Weights 51 + 17 MiB, twice; the first stage's checkpoints, 3 x 153 MiB, of one run at a time.
    assert 2 * 68 + 457 < one < 2 * 68 + 457 + 10
    assert one + 2 * 68 < two < one + 2 * 68 + 10

    command = ["--datasets", "mnist", "fashion_mnist", *TINY, "--out", str(tmp_path / "out")]
    plan = reproduce_paper.plan_of(reproduce_paper.parser().parse_args(command), "command")
    for at_once, expected in ((1, two), (2, two + 457), (9, two + 457)):
        with pytest.raises(UserError, match="1 MiB free") as caught:
            planning.check_room(plan, at_once)
        assert abs(mebibytes(str(caught.value)) - expected) <= 2  # all rounded


def test_an_inception_folder_that_is_none(capsys, tmp_path):
    (tmp_path / "empty").mkdir()
    arguments = ["--all", *TINY, "--inception", tmp_path / "empty", "--out", tmp_path / "out"]
    code, _, err = run(capsys, *arguments)
    assert code == 2
    assert str(tmp_path / "empty") in one_line(err)


def test_dry_run_prints_the_plan(capsys, tmp_path, monkeypatch):
    from training import calibrate

    monkeypatch.setattr(calibrate, "measure", lambda s, e: calibrate.Pace(0.1, 0.02, 0.001))
    arguments = ["--all", "--features", "random", "--dry-run", "--out", tmp_path / "out"]
    code, out, err = run(capsys, *arguments)
    assert code == 0, err
    lines = out.splitlines()
    mnist = next(line for line in lines if line.startswith("mnist-infogan-two-stage-trial0"))
    # 937 steps x (400 x 0.1 s + 800 x 0.02 s) + 50,000 images x 1 ms, in hours
    assert "374,800 + 749,600" in mnist
    assert "10,000 x 4" in mnist
    assert re.search(r"  1, kid, 3, joint  ", mnist)
    assert "Data: mnist (12 MB), fashion_mnist (31 MB), cifar10 (170 MB), celeba (1,4" in out
    assert re.search(r"^On \d+ CPU cores, .*TensorFlow finds no GPU here", out, re.M)
    memory, disk = (float(found) for found in re.findall(r"([\d.]+) GiB", mnist))
    # Weights, gradients and Adam's two moments, four times 51 + 17 MiB; 70,000 images, 52 MiB;
    # posteriors, 29; generated images in float32, twice, 60; three times 20,000 features of 2,048
    # numbers, 469; TensorFlow, 1,200.
    assert memory == pytest.approx((4 * 68 + 52 + 29 + 60 + 469 + 1200) / 1024, rel=0.02)
    # The models and the export, twice 68 MiB; the first stage's checkpoints, three times 153;
    # the features of four rows, 78 each.
    assert disk == pytest.approx((2 * 68 + 3 * 153 + 4 * 78) / 1024, abs=0.06)  # as printed
    assert mnist.endswith("14.6 h")
    assert "60,000" in mnist
    cifar = next(line for line in lines if line.startswith("cifar10-infogan-two-stage-trial0"))
    assert "1000 + 2000" in cifar
    assert not (tmp_path / "out").exists()


def test_dry_run_says_what_would_be_refused(capsys, tmp_path, monkeypatch):
    from training import calibrate
    from training.folder import SETTINGS_FILE

    monkeypatch.setattr(calibrate, "measure", lambda s, e: calibrate.Pace(0.1, 0.02, 0.001))
    arguments = ["--datasets", "mnist", *TINY, "--out", tmp_path]
    plan = reproduce_paper.plan_of(reproduce_paper.parser().parse_args(map(str, arguments)), "")
    (settings,) = plan.runs
    plan.folder(settings).mkdir()
    path = plan.folder(settings) / SETTINGS_FILE
    path.write_text(json.dumps(settings.replace(batch_size=9).to_dict()))
    code, out, _ = run(capsys, *arguments, "--dry-run")
    assert code == 0
    assert re.search(
        r"^Note: .* holds a run with other settings \(batch_size: 9 -> 64\)", out, re.M
    )


def test_home_is_resolved_in_out(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    options = reproduce_paper.parser().parse_args(["--all", "--out=~/found"])
    assert reproduce_paper.plan_of(options, "").out == tmp_path / "found"


def test_a_network_of_ones_own_has_its_own_options():
    quick = ["--preset", "quick", "--datasets"]
    for words, options in (
        (["celeba", "--network", "wae"], (("base_dim", 16),)),
        (["celeba140", "--network", "infogan"], ()),
        (["celeba140"], (("base_dim", 16),)),
    ):
        plan = reproduce_paper.plan_of(reproduce_paper.parser().parse_args([*quick, *words]), "")
        assert plan.runs[0].network_options == options


@pytest.mark.parametrize("preset", ["quick", "lite", "paper"])
def test_dry_run_lists_every_cell_of_the_papers_tables(capsys, tmp_path, monkeypatch, preset):
    from experiments import presets
    from training import calibrate

    monkeypatch.setattr(calibrate, "measure", lambda s, e: calibrate.Pace(0.1, 0.02, 0.001))
    arguments = ["--all", "--tables", "all", "--preset", preset, "--features", "random"]
    code, out, err = run(capsys, *arguments, "--dry-run", "--out", tmp_path / "out")
    assert code == 0, err
    columns = [re.split(r" {2,}", line) for line in out.splitlines() if "-trial0" in line]
    cells = {
        (table, dataset.replace("-standin", ""), method)
        for name, methods, tables, *_ in columns
        for dataset in [name.split("-infogan")[0].split("-wae-")[0]]
        for table in tables.split(", ")
        for method in methods.split(", ")
        if method in presets.TABLES[table][1]
    }
    assert cells == {
        (table, dataset, method)
        for table, (datasets, methods) in presets.TABLES.items()
        for dataset in datasets
        for method in methods
    }
    schedules = {"paper": "400 + 800", "lite": "40 + 80", "quick": "8 + 15"}
    two_stage = next(c for c in columns if c[0] == "mnist-infogan-two-stage-trial0")
    assert two_stage[3] == schedules[preset]


def test_calibration_times_both_stages():
    from experiments import presets
    from training import calibrate

    settings = presets.resolve("quick", "mnist").replace(image_shape=(8, 8, 1), batch_size=8)
    pace = calibrate.measure(settings, None)
    assert pace.first > 0
    assert pace.second > 0
    assert pace.image is None


def test_tables_and_methods_choose_the_cells():
    def cells(**options):
        chosen = {"datasets": None, "methods": None, "tables": None, **options}
        plan = planning.make_plan(preset="paper", out=Path("out"), command="", **chosen)
        return {(s.dataset, m) for s in plan.runs for m in plan.rows(s)}, plan

    default, plan = cells()
    assert len(default) == 8
    assert len(plan.runs) == 4
    methods = {
        *("vae-cross-entropy", "vae-fixed-gamma", "vae-learned-gamma", "vae-flow", "wae-mmd"),
        "two-stage",
    }
    joint = {"two-stage-joint", "two-stage-joint-merged"}
    datasets = ("mnist", "fashion_mnist", "cifar10", "celeba")
    one, plan = cells(tables=["1"])
    assert one == {(d, m) for d in datasets for m in methods}
    assert len(plan.runs) == 4 * 5  # learned gamma comes with two-stage
    beside = cells(tables=["joint"])[0]
    assert beside == default | {(d, m) for d in datasets for m in joint}
    two, plan = cells(tables=["2"])
    assert {d for d, _ in two} == {"celeba140"}
    assert {s.network for s in plan.runs} == {"wae"}
    assert {(s.epochs, s.second_epochs, s.halve_every) for s in plan.runs} == {(70, 70, 30)}
    assert cells(tables=["all"])[0] == one | two | beside
    narrowed = cells(tables=["1"], datasets=["mnist"], methods=["two-stage"])[0]
    assert narrowed == {("mnist", "two-stage")}
    assert {m for _, m in cells(datasets=["mnist"], methods=["all"])[0]} == methods | joint
