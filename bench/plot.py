"""One picture for each work: bars, a number beside each, dark or light as the reader's screen is."""

import html

from bench.works import WORKS

WIDTH, LEFT, BAR, GAP, TOP = 760, 250, 18, 8, 46
FIGURES = {
    "rate": ("a second", lambda found: found.get("rate"), "{:,.0f}"),
    "p99": ("ms, 99 of 100", lambda found: (found.get("late") or found.get("latency") or {}).get("p99_ms"), "{:,.2f}"),
    "seconds": ("seconds until all are done", lambda found: found.get("seconds"), "{:,.2f}"),
    "memory": ("bytes of memory for each", lambda found: found.get("memory_bytes"), "{:,.0f}"),
}
STYLE = """
  text { font: 13px system-ui, sans-serif; fill: #1c2430 }
  .title { font-weight: 600 } .note, .number { fill: #5a6675 }
  .bar { fill: #9fb0c3 } .ours { fill: #2f6fde } .relaxed { fill: #d5dce5 }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6ebf2 } .note, .number { fill: #9aa7b8 }
    .bar { fill: #56677c } .ours { fill: #5b93f5 } .relaxed { fill: #36424f }
  }
"""


def plots(result):
    """The pictures, by the names of their works."""
    rivals = {rival["name"]: rival for rival in result["rivals"]}
    drawn = {}
    for work in WORKS:
        unit, figure, form = FIGURES[work.figure]
        rows = [(rivals[found["rival"]], figure(found)) for found in result["summary"] if found["work"] == work.name]
        rows = [(rival, value) for rival, value in rows if value]
        # What is best stands on top.
        rows.sort(key=lambda row: row[1], reverse=work.figure == "rate")
        if rows:
            drawn[work.name] = plot(work.title, unit, form, rows)
    return drawn


def plot(title, unit, form, rows):
    height = TOP + len(rows) * (BAR + GAP) + 26
    longest = max(value for _, value in rows)
    room = WIDTH - LEFT - 90
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img">',
        f"<title>{html.escape(title)}</title><style>{STYLE}</style>",
        f'<text class="title" x="8" y="20">{html.escape(title)}</text>',
        f'<text class="note" x="8" y="37">{html.escape(unit)}</text>',
    ]
    for place, (rival, value) in enumerate(rows):
        y = TOP + place * (BAR + GAP)
        kind = "ours" if rival["name"].startswith("duly") else "relaxed" if rival["relaxed"] else "bar"
        long = max(1.0, room * value / longest)
        name = html.escape(rival["label"] + (" *" if rival["relaxed"] else ""))
        parts += [
            f'<text x="{LEFT - 8}" y="{y + 14}" text-anchor="end">{name}</text>',
            f'<rect class="{kind}" x="{LEFT}" y="{y}" width="{long:.1f}" height="{BAR}" rx="2"/>',
            f'<text class="number" x="{LEFT + long + 6:.1f}" y="{y + 14}">{form.format(value)}</text>',
        ]
    if any(rival["relaxed"] for rival, _ in rows):
        note = "* answers before the disk has it"
        parts.append(f'<text class="note" x="8" y="{height - 8}">{note}</text>')
    return "\n".join([*parts, "</svg>", ""])
