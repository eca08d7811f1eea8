"""From single measurements to the table: medians with their range, one block for each work."""

import statistics

from bench.works import WORKS

HEAD = ("", "a second", "range", "server µs", "client µs", "disk B", "p50 ms", "p99 ms", "max ms", "rounds", "held up by")
RATIO_HEAD = ("", "Duly", "times as good as the best", "of its µs", "and as Redis", "of its µs")
PENDING_HEAD = ("", "loaded a second", "memory B", "disk B", "restart s", "server µs", "count")

BETTER = {
    "rate": (lambda found: found.get("rate"), True),
    "p99": (lambda found: (found.get("late") or found.get("latency") or {}).get("p99_ms"), False),
    "seconds": (lambda found: found.get("seconds"), False),
    "memory": (lambda found: found.get("memory_bytes"), False),
}
"""What is compared, by the figure of the plot, and whether more of it is better."""


def summary(cells):
    """One line for each work and server: the medians of what was measured, and the range of the rate."""
    groups = {}
    for cell in cells:
        groups.setdefault((cell["work"], cell["rival"]), []).append(cell)
    return [line(work, rival, group) for (work, rival), group in groups.items()]


def line(work, rival, group):
    good = [cell for cell in group if "error" not in cell]
    found = {"work": work, "rival": rival, "rounds": len(good)}
    errors = sorted({cell["error"] for cell in group if "error" in cell})
    if errors:
        found["errors"] = errors
    if not good:
        return found
    for name in ("operations", "seconds", "rate", "server_us", "generator_us", "memory_bytes", "disk_bytes", "journal_bytes",
                 "restart_seconds"):
        values = [cell[name] for cell in good if name in cell]
        if values:
            found[name] = statistics.median(values)
    found["rate_range"] = [min(cell["rate"] for cell in good), max(cell["rate"] for cell in good)]
    for kind in ("latency", "late", "done"):
        if kind in good[0]:
            found[kind] = {name: statistics.median(cell[kind][name] for cell in good) for name in good[0][kind]}
    found["early"] = max(cell.get("early", 0) for cell in good)
    found["again"] = max(cell.get("again", 0) for cell in good)
    middle = min(good, key=lambda cell: abs(cell["rate"] - found["rate"]))
    found["held_up_by"] = middle["held_up_by"]
    return found


def text(result):
    """The table, as it is printed and as the documents quote it."""
    rivals = {rival["name"]: rival for rival in result["rivals"]}
    lines = []
    if compared := ratios(result):
        lines += ["Duly beside those that answer when the disk has it", *compared, ""]
    for work in WORKS:
        group = [found for found in result["summary"] if found["work"] == work.name]
        group.sort(key=lambda found: list(rivals).index(found["rival"]))
        if not group:
            continue
        make, head = (pending_row, PENDING_HEAD) if work.kind == "pending" else (row, HEAD)
        rows = [make(work, found, rivals[found["rival"]]) for found in group]
        lines += [titled(work, result), *table(head, rows), ""]
    return "\n".join(line.rstrip() for line in lines)


def ratios(result):
    """Duly beside the best that answers when the disk has it, and beside Redis: how many times as good."""
    rivals = {rival["name"]: rival for rival in result["rivals"]}
    rows = []
    for work in WORKS:
        figure, more = BETTER[work.figure]
        found = {one["rival"]: one for one in result["summary"] if one["work"] == work.name and figure(one)}
        ours = [one for name, one in found.items() if name.startswith("duly")]
        durable = [one for name, one in found.items() if not name.startswith("duly") and not rivals[name]["relaxed"]]
        if not ours or not durable:
            continue
        best = (max if more else min)(durable, key=figure)
        for one in ours:
            row = [f"  {work.name}, {rivals[one['rival']]['label']}", f"{figure(one):,.2f}"]
            for other in (best, found.get("redis")):
                if other is None or (len(row) > 2 and other is best):
                    row += ["–", "–"]
                    continue
                better = figure(one) / figure(other) if more else figure(other) / figure(one)
                row += [f"{better:,.2f} × {rivals[other['rival']]['label'].split(',')[0]}", f"{one['server_us'] / other['server_us']:,.2f}"]
            rows.append(row)
    return table(RATIO_HEAD, rows) if rows else []


def titled(work, result):
    return work.title + (" (quick: less of it)" if result["quick"] else "")


def label(found, rival):
    return f"  {rival['label']}" + (" *" if rival["relaxed"] else "")


def row(work, found, rival):
    if "rate" not in found:
        return [label(found, rival), "; ".join(found["errors"])]
    times = found.get("done" if work.name == "stampede" else "late") or found.get("latency")
    paced = work.figure == "p99"
    low, high = found["rate_range"]
    held = "" if paced else found["held_up_by"]
    notes = [held] if held else []
    if found["operations"] < work.options.get("count", 0) and not paced:
        notes.append(f"{found['operations']:,.0f} of them")
    if "journal_bytes" in found:
        notes.append(f"journal {found['journal_bytes']:,.0f} B")
    if found["early"]:
        notes.append(f"{found['early']} too early")
    if found["again"]:
        notes.append(f"{found['again']} twice")
    notes += found.get("errors", [])
    return [
        label(found, rival), "" if paced else f"{found['rate']:,.0f}",
        "" if paced or found["rounds"] < 2 else f"{low:,.0f}–{high:,.0f}",
        f"{found['server_us']:,.1f}", f"{found['generator_us']:,.1f}", f"{found['disk_bytes']:,.0f}" if found["disk_bytes"] >= 1 else "–",
        *(f"{times[name]:,.2f}" for name in ("p50_ms", "p99_ms", "max_ms")), f"{found['rounds']}", "; ".join(notes),
    ]


def pending_row(work, found, rival):
    if "rate" not in found:
        return [label(found, rival), "; ".join(found["errors"])]
    memory = f"{found['memory_bytes']:,.0f}" if "memory_bytes" in found else "–"
    return [label(found, rival), f"{found['rate']:,.0f}", memory, f"{found['disk_bytes']:,.0f}",
            f"{found['restart_seconds']:,.2f}", f"{found['server_us']:,.1f}", f"{found['operations']:,.0f}"]


def table(head, rows):
    """Lines with columns: the first and the last to the left, the others to the right. What has no columns is a text."""
    whole = [cells for cells in [head, *rows] if len(cells) == len(head)]
    widths = [max(len(cells[place]) for cells in whole) for place in range(len(head))]
    widths[0] = max(widths[0], *(len(cells[0]) for cells in rows))
    last = len(head) - 1 if head is HEAD else len(head)
    lines = []
    for cells in [head, *rows]:
        if len(cells) < len(head):
            lines.append(f"{cells[0].ljust(widths[0])}  {cells[1]}")
            continue
        lines.append("  ".join(
            cell.ljust(width) if place in (0, last) else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(cells, widths))))
    return lines


def settings(result):
    """Who was measured, as a list."""
    lines = []
    for rival in result["rivals"]:
        if rival.get("missing"):
            lines.append(f"{rival['label']}: not measured, {rival['missing']}")
            continue
        star = f"; * up to {rival['relaxed']} of acknowledged work is lost with the power" if rival["relaxed"] else ""
        lines.append(f"{rival['label']}: {rival['version']}; {rival['settings']}{star}")
    return "\n".join(lines)


def heading(result):
    """Machine, disk and load in two lines."""
    here, sync = result["machine"], result["sync_ms"]
    return (
        f"{here['processors']} × {here['processor']}, {here['memory_gib']} GiB, Linux {here['kernel']}, {here['filesystem']}; "
        f"{result['command']}\n"
        f"a sync by itself takes {sync['before']['p50']} ms before and {sync['after']['p50']} ms after; "
        f"load {result['load']['before']} before, {result['load']['after']} after; {result['minutes']} minutes"
    )
