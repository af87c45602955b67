#!/usr/bin/env python3
"""How many epochs the optimal gamma saves: scores along training, learned gamma beside optimal.

    python benchmarks/optimal_gamma.py --out runs/gamma --epochs 5 10 20 40 -- \\
        --preset lite --datasets mnist --second-epochs 40

For every number of epochs of the first stage both gammas are trained and scored by
reproduce_paper.py, whose options follow the "--", each number in a folder of its own. The learning
rate's schedule does not depend on the number, so that a shorter run is the beginning of a longer
one. What is finished is not run again; --summary only reads what is there.

The target is the score that the learned gamma reaches with the most epochs, or --target. Between
two measured numbers of epochs the score is taken to fall along a straight line.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import reproduce_paper  # noqa: E402
from experiments.files import read_json, write_json  # noqa: E402
from experiments.settings import GAMMAS  # noqa: E402

SCORES = ("fid", "fd-random")  # the second is that of a smoke run's random features


def curves(records: list[dict], protocol: str) -> dict[tuple[str, str, str], dict[int, float]]:
    """Score by epochs, averaged over trials, for each (data set, score, method)."""
    values: dict[tuple[str, str, str], dict[int, list[float]]] = {}
    for r in records:
        score = next((s for s in SCORES if r.get(s) is not None), None)
        if r["status"] == "ok" and r["protocol"] == protocol and score:
            name = score if score != "fid" or not r["smoke"] else "smoke-fid"
            curve = values.setdefault((r["dataset"], name, r["method"]), {})
            curve.setdefault(r["epochs"], []).append(r[score])
    return {
        key: {epochs: statistics.fmean(curve[epochs]) for epochs in sorted(curve)}
        for key, curve in values.items()
    }


def epochs_to(curve: dict[int, float], target: float) -> float | None:
    """The epochs at which a curve first is at ``target`` or below; None if it never is.

    A curve that begins below it gives its first epochs, which are then an upper bound.
    """
    before = None
    for epochs, score in curve.items():
        if score <= target:
            if before is None:
                return float(epochs)
            start, height = before
            return start + (epochs - start) * (height - target) / (height - score)
        before = (epochs, score)
    return None


def savings(found: dict, target: float | None = None) -> list[dict]:
    """For each data set, score and stage, the epochs to the target with either gamma."""
    rows = []
    for dataset, score, method in found:
        if method not in GAMMAS["learned"]:
            continue
        optimal = GAMMAS["optimal"][GAMMAS["learned"].index(method)]
        learned, other = found[dataset, score, method], found.get((dataset, score, optimal))
        if not other:
            continue
        goal = learned[max(learned)] if target is None else target
        needed = [epochs_to(curve, goal) for curve in (learned, other)]
        rows.append(
            {
                "dataset": dataset,
                "method": method,
                "score": score,
                "target": goal,
                "learned": learned,
                "optimal": other,
                "epochs_learned": needed[0],
                "epochs_optimal": needed[1],
                "epochs_saved": None if None in needed else needed[0] - needed[1],
            }
        )
    return rows


def describe(rows: list[dict]) -> str:
    """The savings as text."""
    lines = []
    for r in rows:
        lines.append(f"{r['dataset']}, {r['method']}, {r['score']}:")
        lines.append(f"  {'epochs':>8} {'learned':>10} {'optimal':>10}")
        for epochs in sorted({*r["learned"], *r["optimal"]}):
            cells = (r[g].get(epochs) for g in ("learned", "optimal"))
            cells = " ".join(f"{'' if c is None else format(c, '.4g'):>10}" for c in cells)
            lines.append(f"  {epochs:>8} {cells}")
        needed = (
            "never reached" if e is None else f"{e:.1f} epochs"
            for e in (r["epochs_learned"], r["epochs_optimal"])
        )
        lines.append("  to {:.4g}: learned {}, optimal {}".format(r["target"], *needed))
        if r["epochs_saved"] is not None:
            lines.append(f"  the optimal gamma saves {r['epochs_saved']:.1f} epochs")
    smoke = {r["score"] for r in rows} - {"fid"}
    if smoke:
        lines.append(f"{', '.join(sorted(smoke))}: smoke scores, which say nothing about FID.")
    return "\n".join(lines) or "No data set has been scored with both gammas yet."


def main(arguments: list[str] | None = None) -> int:
    """Runs what is missing and prints the savings; the exit code is reproduce_paper's."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    parser = argparse.ArgumentParser(description="What the optimal gamma saves in epochs.")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--epochs", type=int, nargs="+", required=True)
    parser.add_argument("--target", type=float, help="in place of the learned gamma's last score")
    parser.add_argument("--protocol", default="paper")
    parser.add_argument("--summary", action="store_true", help="run nothing")
    rest = arguments[arguments.index("--") + 1 :] if "--" in arguments else []
    options = parser.parse_args(arguments[: len(arguments) - len(rest) - ("--" in arguments)])

    records = []
    for epochs in options.epochs:
        folder = options.out / f"epochs-{epochs}"
        for gamma in () if options.summary else GAMMAS:
            where = ["--epochs", str(epochs), "--gamma", gamma, "--out", str(folder)]
            code = reproduce_paper.main([*rest, *where])
            if code:
                return code
        records += read_json(folder / "results.json") or []
    rows = savings(curves(records, options.protocol), options.target)
    if rows:
        write_json(options.out / "optimal-gamma.json", rows)
    print(describe(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
