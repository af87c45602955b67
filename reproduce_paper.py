#!/usr/bin/env python3
"""Reproduces the tables and figures of Dai and Wipf, "Diagnosing and Enhancing VAE Models".

    python reproduce_paper.py --all                  the paper's schedule on all four data sets
    python reproduce_paper.py --all --preset quick   minutes on a laptop, bundled data
    python reproduce_paper.py --all --dry-run        the plan, its sizes and an estimate of the time
    python reproduce_paper.py --theory               the theory, measured on known manifolds

Parse -> plan -> run -> report. Repeating a command goes on where it stopped.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import os
import shlex
import signal
import sys
import threading
import time
from pathlib import Path

if __name__ == "__main__" and importlib.util.find_spec("keras") is None:
    print(
        "reproduce_paper.py: this Python has no Keras. `make quick` sets up .venv: use "
        ".venv/bin/python, or pip install -r requirements.txt.",
        file=sys.stderr,
    )
    sys.exit(2)

from experiments import environment

os.environ.update(environment.missing())

from experiments import presets
from experiments.errors import UserError
from experiments.settings import CHECKPOINT_SECONDS, SECOND_STAGE_ABLATIONS
from training.failures import OutOfMemory

EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130
EXIT_TERMINATED = 143
# Two options do something else than a plan of runs, each with few of the others.
THEORY_OPTIONS = ("theory", "preset", "seed", "out", "dry_run", "deterministic")
MERGE_OPTIONS = ("merge", "preset", "out")


class Terminated(KeyboardInterrupt):
    """SIGTERM, as batch systems send it before they kill."""


@contextlib.contextmanager
def _sigterm_like_ctrl_c():
    def stop(*_):
        raise Terminated

    try:
        before = signal.signal(signal.SIGTERM, stop)
    except ValueError:  # not in the main thread: whoever started it decides
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def _no_interrupt_lost():
    """Python prints an interrupt that comes within a garbage collector's callback, and goes on.

    JAX has such a callback, and TensorFlow imports JAX where it is installed.
    """
    before = sys.unraisablehook

    def again(unraisable):
        if not issubclass(unraisable.exc_type, KeyboardInterrupt):
            before(unraisable)
            return
        number = signal.SIGTERM if issubclass(unraisable.exc_type, Terminated) else signal.SIGINT
        later = threading.Timer(0.05, signal.raise_signal, (number,))  # out of the callback
        later.daemon = True
        later.start()

    sys.unraisablehook = again
    try:
        yield
    finally:
        sys.unraisablehook = before


class _Parser(argparse.ArgumentParser):
    """Mistakes in the options are one line too."""

    def error(self, message):
        raise UserError(f"{message} (--help lists the options).")


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    p = _Parser(
        prog="reproduce_paper.py",
        description="Train and score the two-stage VAE and its first stage as in the paper.",
        epilog="Repeating a command goes on where it stopped; finished runs are not done again.",
        allow_abbrev=False,  # a report names the command: its options are to be found there
    )
    what = p.add_argument_group("what to run")
    what.add_argument("--all", action="store_true", help="Table 1's four data sets")
    what.add_argument(
        "--datasets", nargs="+", metavar="NAME", help=f"from {', '.join(presets.DATASETS)}"
    )
    what.add_argument(
        "--methods",
        nargs="+",
        metavar="NAME",
        help=f"all, or from {', '.join(presets.METHODS)} (default: "
        f"{' and '.join(presets.DEFAULT_METHODS)}, or what --tables needs); besides, ablations of "
        f"the second stage: {', '.join(SECOND_STAGE_ABLATIONS)}",
    )
    what.add_argument(
        "--tables",
        nargs="+",
        metavar="NAME",
        help=f"all, or from {', '.join(presets.TABLES)}: the runs that these tables of the paper "
        "are made of",
    )
    what.add_argument(
        "--theory",
        action="store_true",
        help="the paper's theory instead, measured on manifolds that are known: minutes on a CPU "
        "with --preset quick, under an hour without",
    )
    what.add_argument(
        "--preset",
        default="paper",
        metavar="NAME",
        help="quick (bundled data, minutes), lite (real data, a tenth of the paper's epochs) or "
        "paper (the published schedule; the default)",
    )
    what.add_argument("--trials", type=int, default=1, metavar="N", help="independent runs of each")
    what.add_argument("--seed", type=int, default=0, metavar="N", help="of the first trial")
    what.add_argument(
        "--dry-run", action="store_true", help="print the plan and an estimate of the time"
    )

    change = p.add_argument_group("in place of the preset's")
    change.add_argument("--epochs", type=int, metavar="N", help="of the first stage")
    change.add_argument("--second-epochs", type=int, metavar="N", help="of the second stage")
    change.add_argument(
        "--network", metavar="NAME", help="infogan, wae or resnet, for encoder and decoder"
    )
    change.add_argument(
        "--gamma",
        default="learned",
        metavar="NAME",
        help="learned (as in the paper; the default) or optimal: the running RMSE of the "
        "reconstruction, in rows and a table of its own",
    )
    change.add_argument(
        "--extras",
        action="store_true",
        help="score vae-learned-gamma and two-stage with re-normalised latents too, in rows and a "
        "table of their own",
    )
    change.add_argument("--images", type=int, metavar="N", help="generated and real images scored")
    change.add_argument(
        "--protocols",
        nargs="+",
        metavar="NAME",
        help="score under paper or standard alone (default: both); the same command without it "
        "adds the other later",
    )
    change.add_argument(
        "--jpeg",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="pass images once through JPEG first, as the authors did with CIFAR-10; --no-jpeg for "
        "files that have been through it",
    )

    where = p.add_argument_group("files")
    where.add_argument("--out", metavar="DIR", help="results (default: runs/<preset>)")
    where.add_argument(
        "--data-dir",
        metavar="DIR",
        help="folder with the data sets' official files, and where missing ones are downloaded to "
        "(default: the user's cache folder)",
    )
    where.add_argument(
        "--inception",
        metavar="DIR",
        help="local SavedModel with a pool_3 output (default: "
        f"${environment.INCEPTION_VARIABLE}, or TF-GAN's network from TensorFlow Hub)",
    )
    where.add_argument(
        "--features",
        choices=("auto", "inception", "random"),
        default="auto",
        help="what is scored; random: a seeded random network whose scores only show that the "
        "program runs (auto: inception, but random for preset quick without a local network)",
    )
    where.add_argument(
        "--data-note",
        action="append",
        default=[],
        metavar="DATASET=TEXT",
        help="a footnote for scores on files that are not what their name says, kept until another "
        "is given; DATASET= takes it back",
    )
    spread = p.add_argument_group("spreading runs")
    spread.add_argument(
        "--shard",
        metavar="I/N",
        help="do every N-th run, from the I-th, without a report: for the tasks of a job array",
    )
    spread.add_argument(
        "--merge",
        nargs="*",
        metavar="DIR",
        help="train nothing: copy the runs of other output folders, if any, into --out and write "
        "its report",
    )
    spread.add_argument(
        "--engine",
        choices=("local", "ray"),
        default="local",
        help="where runs are done: one after the other here, or at once on a Ray cluster "
        "($RAY_ADDRESS, or this machine), one a GPU",
    )
    spread.add_argument(
        "--cores", type=int, default=1, metavar="N", help="of each run with --engine ray (1)"
    )
    spread.add_argument(
        "--distribute",
        choices=("none", "mirrored", "multi-worker"),
        default="none",
        help="each run on several devices: all GPUs of this machine, or the machines in TF_CONFIG",
    )
    p.add_argument("--deterministic", action="store_true", help="bit-identical repetition, slower")
    p.add_argument(
        "--checkpoint-seconds",
        type=float,
        default=CHECKPOINT_SECONDS,
        metavar="S",
        help=f"between two checkpoints of a run in training (default: {CHECKPOINT_SECONDS:.0f})",
    )
    return p


def _data_notes(pairs: list[str]) -> dict[str, str | None]:
    notes: dict[str, str | None] = {}
    for pair in pairs:
        name, separator, text = pair.partition("=")
        if not separator or name not in presets.DATASETS:
            raise UserError(
                f"--data-note takes DATASET=TEXT with one of {', '.join(presets.DATASETS)}, got "
                f"{pair!r}."
            )
        notes[name] = text.strip() or None
    return notes


def _features(options: argparse.Namespace) -> str:
    if options.features != "auto":
        return options.features
    local = options.inception or os.environ.get(environment.INCEPTION_VARIABLE)
    return "random" if options.preset == "quick" and not local else "inception"


def plan_of(options: argparse.Namespace, command: str):
    """The plan of parsed options; UserError for what can't be."""
    if not (options.all or options.datasets or options.tables):
        raise UserError("say what to run: --all, --tables, or --datasets with one or more names.")
    if options.all and options.datasets:
        raise UserError("--all is all data sets, --datasets some of them: leave one out.")
    if not options.checkpoint_seconds >= 0:
        raise UserError(
            f"--checkpoint-seconds must not be negative, got {options.checkpoint_seconds}."
        )
    if options.distribute != "none" and options.engine != "local":
        raise UserError("--distribute is for one run at a time: leave out --engine ray.")
    if options.cores < 1:
        raise UserError(f"--cores must be at least 1, got {options.cores}.")
    if options.cores > 1 and options.engine != "ray":
        raise UserError("--cores is for --engine ray: without it a run has all cores.")
    if options.inception and options.features == "random":
        raise UserError("--features random scores without Inception: leave out --inception.")
    from training import shards
    from training.plan import make_plan

    part = shards.parse(options.shard) if options.shard else None
    plan = make_plan(
        preset=options.preset,
        datasets=options.datasets or None,
        methods=options.methods or None,
        tables=options.tables or None,
        out=output_folder(options),
        command=command,
        trials=options.trials,
        seed=options.seed,
        epochs=options.epochs,
        second_epochs=options.second_epochs,
        images=options.images,
        protocols=options.protocols,
        jpeg=options.jpeg,
        network=options.network,
        gamma=options.gamma,
        extras=options.extras,
        features=_features(options),
        inception=options.inception,
        data_dir=options.data_dir,
        data_notes=_data_notes(options.data_note),
        deterministic=options.deterministic,
        checkpoint_seconds=options.checkpoint_seconds,
        distribute=options.distribute,
    )
    if unused := plan.data_notes.keys() - {settings.dataset for settings in plan.runs}:
        raise UserError(
            f"--data-note is about {', '.join(sorted(unused))}, whose files none of the runs uses."
        )
    return shards.shard(plan, *part) if part else plan


def _check_alone(option: str, options: argparse.Namespace, allowed: tuple[str, ...]) -> None:
    usual = parser()
    others = [
        f"--{name.replace('_', '-')}"
        for name, value in vars(options).items()
        if name not in allowed and value != usual.get_default(name)
    ]
    if others:
        raise UserError(f"{option} runs alone, without {', '.join(others)}.")


def output_folder(options: argparse.Namespace, name: str | None = None) -> Path:
    """``--out``, or a folder of the preset's below ``runs``."""
    return environment.user_path(options.out or Path("runs") / (name or options.preset))


def merge(options: argparse.Namespace, command: str) -> None:
    """Puts shards together and writes their report."""
    _check_alone("--merge", options, MERGE_OPTIONS)
    out = output_folder(options)
    from training import shards

    copied = shards.merge(options.merge, out)
    if options.merge:
        print(f"Copied {len(copied)} runs into {out}.")
    from training.results import write_results

    command = shards.kept_command([out, *options.merge]) or command
    _announce(out, write_results(out, command))


def _announce(out: Path, paths) -> None:
    markdown, page = paths
    print(f"Results: {out / 'results.json'}")
    print(f"Report: {page} (or {markdown})")


def dry_run(plan) -> None:
    """Prints the plan with an estimate of its time on this machine."""
    from tqdm import tqdm

    from training import calibrate
    from training.plan import check_runs, load_extractor

    extractor = None
    for check in (check_runs, load_extractor):
        try:
            extractor = check(plan)
        except UserError as error:
            print(f"Note: {error}")
    at_hand = calibrate.data_at_hand(plan)  # whose folder may be wrong: before the time is taken
    kinds = {calibrate.kind(settings): settings for settings in reversed(plan.runs)}
    paces = {
        kind: calibrate.measure(settings, extractor)
        for kind, settings in tqdm(kinds.items(), "Timing some steps", leave=False)
    }
    print(calibrate.describe(plan, paces, at_hand))
    print(f"On {machine_of(plan)}")


def machine_of(plan) -> str:
    """The machine in a sentence; a warning where the paper's schedule would take it weeks."""
    import tensorflow as tf

    from training import records

    if plan.runs[0].preset != "paper" or tf.config.list_physical_devices("GPU"):
        return f"{records.machine()}."
    return f"{records.machine()}. TensorFlow finds no GPU here: see 'On a GPU' in docs/running.md."


def run(plan, engine: str = "local", cores: int = 1) -> None:
    """Checks everything that can be checked, then trains, scores and reports."""
    import tensorflow as tf

    from training import distribution
    from training import plan as planning
    from training.calibrate import duration
    from training.run import run_plan

    # A plan builds many models, each traced a few times: TensorFlow would warn of every one.
    tf.get_logger().setLevel("ERROR")
    start = time.monotonic()
    strategy = distribution.strategy_of(plan.distribute)
    planning.check_output(plan)
    for settings in plan.runs:
        distribution.check(settings, strategy)
    if engine == "ray":
        # The workers need the GPUs, whose memory TensorFlow would take for the check alone.
        tf.config.set_visible_devices([], "GPU")
    extractor = planning.load_extractor(plan)
    planning.check_data(plan)
    print(f"On {machine_of(plan)}", flush=True)
    if engine == "ray":
        from training import ray_engine

        del extractor
        paths = ray_engine.run_plan(plan, cores)
    else:
        paths = run_plan(plan, extractor, strategy)
    print(f"Done in {duration(time.monotonic() - start)}.")
    if paths is None and not plan.gathers:
        print(f"When all shards are done: reproduce_paper.py --merge --out {plan.out}")
    elif paths is not None:
        _announce(plan.out, paths)


def theory(options: argparse.Namespace, command: str) -> None:
    """The theory's grid instead of a plan of the paper's tables."""
    _check_alone("--theory", options, THEORY_OPTIONS)
    from theory import run as theory_run

    theory_run.plan(options.preset)
    if options.dry_run:
        theory_run.dry_run(options.preset, options.seed)
        return
    if options.deterministic:
        _set_deterministic()
    out = output_folder(options, f"theory-{options.preset}")
    theory_run.run(options.preset, out, command, options.seed)


def _set_deterministic() -> None:
    import tensorflow as tf

    tf.config.experimental.enable_op_determinism()


def main(arguments: list[str] | None = None) -> int:
    """Runs the command.

    The exit code is 0, 2 for what the user can put right, 130 for Ctrl-C, 143 for SIGTERM.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    with _sigterm_like_ctrl_c(), _no_interrupt_lost():
        return _main(arguments)


def _main(arguments: list[str]) -> int:
    command = shlex.join(["python", "reproduce_paper.py", *arguments])
    try:
        options = parser().parse_args(arguments)
        if (backend := os.environ["KERAS_BACKEND"]) != "tensorflow":
            raise UserError(
                f"the command runs on Keras's TensorFlow backend, KERAS_BACKEND is {backend!r}: "
                "unset it. (The models train on jax too, see the README.)"
            )
        environment.check_folders(
            **{name: getattr(options, name) for name in ("out", "data_dir", "inception", "merge")}
        )
        if options.theory:
            theory(options, command)
            return 0
        if options.merge is not None:
            merge(options, command)
            return 0
        plan = plan_of(options, command)
        if not plan.runs:
            print(f"Shard {options.shard} has no runs: there are fewer than shards.")
            return 0
        if plan.deterministic:
            _set_deterministic()
        dry_run(plan) if options.dry_run else run(plan, options.engine, options.cores)
    except UserError as error:
        print(f"reproduce_paper.py: {error}", file=sys.stderr)
        return EXIT_USER_ERROR
    except OSError as error:
        if error.filename is None and error.errno is None:
            raise
        print(
            f"reproduce_paper.py: {error.filename or 'a file'}: {error.strerror or error}. What "
            "was finished is kept; put this right and repeat the command.",
            file=sys.stderr,
        )
        return EXIT_USER_ERROR
    except KeyboardInterrupt as stop:
        print("\nStopped. The same command goes on from the last checkpoint.", file=sys.stderr)
        return EXIT_TERMINATED if isinstance(stop, Terminated) else EXIT_INTERRUPTED
    except OutOfMemory as error:
        print(
            f"reproduce_paper.py: {error}. What was finished is kept; the same command goes on.",
            file=sys.stderr,
        )
        return EXIT_USER_ERROR
    return 0


if __name__ == "__main__":
    sys.exit(main())
