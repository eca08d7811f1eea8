"""Measures Duly beside what people use today, on this machine and disk, in one run.

Every server gets a directory of its own on one disk and a free port, is started for each measurement and
stopped by its process id. A round visits all of them, in another order each time; the table shows medians.
All rows without a star answer when the disk has it.

It measures this machine: let nothing else run beside it. A refused, lost or wrong operation ends the
measurement of that server and work, and the table says why.
"""

import argparse
import json
import math
import os
import pathlib
import random
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from bench import machine, plot, summary
from bench.install import install
from bench.measure import measure
from bench.rivals import everybody
from bench.works import WORKS, options

ROOT = pathlib.Path(__file__).resolve().parent.parent
PUBLISHED = ROOT / "docs/bench"
PAGE = ROOT / "docs/performance.md"
MARKS = ("<!-- what scripts/bench --publish wrote: begin -->", "<!-- what scripts/bench --publish wrote: end -->")


def main():
    # Whoever ends it gets his servers stopped and his directories removed, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    tools = asked()
    if tools.install:
        install(tools.rivals)
        return
    tools.on.mkdir(parents=True, exist_ok=True)
    tools.folder = pathlib.Path(tempfile.mkdtemp(prefix="bench-", dir=tools.on)).resolve()
    try:
        # A server that must not be root has to reach its directory in here.
        tools.folder.chmod(0o755)
        tools.templates = tools.folder / "templates"
        result = everything(tools)
    finally:
        shutil.rmtree(tools.folder, ignore_errors=True)
    table = f"{summary.heading(result)}\n\n{summary.text(result)}\n{summary.settings(result)}\n"
    print(table)
    write(result, table, tools.write)
    if tools.publish:
        write(result, table, PUBLISHED)
        publish(table, plot.plots(result))
    if any("rate" not in found for found in result["summary"]):
        sys.exit("not everything could be measured: see the table")


def asked():
    """The options; binaries that nobody named are built."""
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).resolve()
    parser = argparse.ArgumentParser(
        prog="scripts/bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [rival.name for rival in everybody(None)]
    works = [work.name for work in WORKS]
    parser.add_argument("--install", action="store_true", help="install what the rivals need, and end")
    parser.add_argument("--rivals", type=listed(names), default=names, metavar="NAME,…", help=", ".join(names))
    parser.add_argument("--work", type=listed(works), default=works, metavar="NAME,…", help=", ".join(works))
    parser.add_argument("--rounds", type=int, default=5, help="long works are done in a fifth of them (5)")
    parser.add_argument("--minutes", type=float, help="after these no other measurement is begun (25; quick: 3)")
    parser.add_argument("--quick", action="store_true", help="little of everything, to see that it works")
    parser.add_argument("--on", type=pathlib.Path, default=target / "bench", help="a directory of the disk")
    parser.add_argument("--write", type=pathlib.Path, default=target / "bench-results", help="where results go")
    parser.add_argument("--publish", action="store_true", help="also to docs/bench and docs/performance.md")
    parser.add_argument("--duly", type=pathlib.Path, help="the server's binary; else it is built")
    parser.add_argument("--load", type=pathlib.Path, help="the generator's (duly-sim); else it is built")
    tools = parser.parse_args()
    tools.rivals_asked, tools.rivals = tools.rivals, target / "bench-rivals"
    if tools.quick:
        tools.rounds = 1
    tools.minutes = tools.minutes or (3 if tools.quick else 25)
    for name, package in (("duly", "duly"), ("load", "duly-sim")):
        if getattr(tools, name) is None and not tools.install:
            # One after the other: together they would share features, and the simulator's are not the product's.
            subprocess.run(["cargo", "build", "--release", "--quiet", "--package", package], cwd=ROOT, check=True)
            setattr(tools, name, target / "release" / package)
    tools.duly, tools.load = (path and path.resolve() for path in (tools.duly, tools.load))
    return tools


def listed(known):
    """Names with commas between them."""
    def names(text):
        wanted = [name.strip() for name in text.split(",")]
        strange = [name for name in wanted if name not in known]
        if strange:
            raise argparse.ArgumentTypeError(f"{', '.join(strange)}: known are {', '.join(known)}")
        return [name for name in known if name in wanted]
    return names


def everything(tools):
    """All rounds."""
    rivals = [rival for rival in everybody(tools) if rival.name in tools.rivals_asked]
    told = [described(rival) for rival in rivals]
    there = [rival for rival, words in zip(rivals, told) if not words.get("missing")]
    for words in told:
        if words.get("missing"):
            print(f"not measured: {words['label']}: {words['missing']}", file=sys.stderr)
    before = machine.sync_ms(tools.folder), machine.load()
    begun = time.monotonic()
    cells = rounds(there, tools, begun + tools.minutes * 60)
    return {
        "command": typed(),
        "at": time.strftime("%Y-%m-%dT%H:%MZ", time.gmtime()),
        "quick": tools.quick,
        "minutes": round((time.monotonic() - begun) / 60, 1),
        "machine": machine.described(tools.folder),
        "sync_ms": {"before": before[0], "after": machine.sync_ms(tools.folder)},
        "load": {"before": before[1], "after": machine.load()},
        "rivals": told,
        "summary": summary.summary(cells),
        "cells": cells,
    }


def typed():
    """What was typed, without the places of this machine."""
    words, rest = ["scripts/bench"], iter(sys.argv[1:])
    for word in rest:
        if word in ("--duly", "--load", "--on", "--write"):
            next(rest)
        elif word != "--publish" and not word.startswith(("--duly=", "--load=", "--on=", "--write=")):
            words.append(word)
    return shlex.join(words)


def described(rival):
    words = {"name": rival.name, "label": rival.label, "relaxed": rival.relaxed}
    if missing := rival.missing():
        return {**words, "missing": missing}
    return {**words, "version": rival.version(), "settings": rival.settings()}


def rounds(rivals, tools, end):
    """All cells, until the time is over. A server that failed at a work is not asked for it again."""
    cells, failed = [], set()
    for turn in range(tools.rounds):
        order = random.Random(turn).sample(rivals, len(rivals)) if turn else rivals
        for work in (work for work in WORKS if work.name in tools.work):
            if work.long and turn >= math.ceil(tools.rounds / 5):
                continue
            for rival in order:
                wanted = options(work, rival, tools.quick)
                done = isinstance(wanted, str) or turn >= (3 if rival.relaxed else rival.most_rounds) or (work.name, rival.name) in failed
                if done:
                    continue
                if time.monotonic() > end:
                    print("the time is over: what is missing has fewer rounds", file=sys.stderr)
                    return cells
                cell = {"work": work.name, "rival": rival.name, "round": turn + 1, "load": machine.load()}
                cell |= attempted(rival, work, wanted, tools)
                if "error" in cell:
                    failed.add((work.name, rival.name))
                cells.append(cell)
                progress(cell, tools)
    return cells


def attempted(rival, work, wanted, tools):
    """The figures of a cell, or why there are none: one that fails does not end the others."""
    try:
        return measure(rival, work, wanted, tools)
    except (OSError, RuntimeError, ValueError, EOFError, subprocess.SubprocessError) as error:
        detail = getattr(error, "stderr", None) or b""
        return {"error": f"{error} {detail.decode(errors='replace') if isinstance(detail, bytes) else detail}".strip()}


def progress(cell, tools):
    said = cell.get("error") or f"{cell['rate']:>11,.0f}/s {cell['server_us']:>9,.1f} µs  {cell['held_up_by']}"
    for kind in ("late", "latency"):
        if kind in cell:
            said += f"  p99 {cell[kind]['p99_ms']:,.2f} ms"
            break
    print(f"{time.strftime('%H:%M:%S')} round {cell['round']} of {tools.rounds}  {cell['work']:<12} {cell['rival']:<16} {said}",
          file=sys.stderr, flush=True)


def write(result, table, folder):
    """Figures, table and pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    (folder / "table.txt").write_text(table)
    for old in folder.glob("*.svg"):
        old.unlink()
    for name, picture in plot.plots(result).items():
        (folder / f"{name}.svg").write_text(picture)
    print(f"written to {folder}", file=sys.stderr)


def publish(table, pictures):
    """Puts the table and the pictures where the page quotes them."""
    page = PAGE.read_text()
    before, rest = page.split(MARKS[0], 1)
    after = rest.split(MARKS[1], 1)[1]
    shown = "\n".join(f"![{work.title}](bench/{work.name}.svg)\n" for work in WORKS if work.name in pictures)
    PAGE.write_text(f"{before}{MARKS[0]}\n```\n{table.rstrip()}\n```\n\n{shown}{MARKS[1]}{after}")
