"""What is done to each server, and how much of it. What a rival needs to have different is in its own file."""

from dataclasses import dataclass, field

LEASES = {"connections": 2, "lease": 100}
"""Two workers; each says of all it has that they are done, and asks for more at once."""


@dataclass(frozen=True)
class Work:
    name: str
    title: str
    kind: str
    options: dict
    quick: dict = field(default_factory=dict)
    """What is different when it is only to be seen that it works."""
    long: bool = False
    """Done in a fifth of the rounds."""
    figure: str = "rate"
    """What the plot shows."""
    only: tuple = ()
    """Servers that can do it, where not all can."""


SETEX = ("duly-redis", "redis")
"""Servers that redis-benchmark speaks to."""
SHORT = {"time_ms": 1_500, "fill_ms": 2_000}
QUICK = {"time_ms": 300, "fill_ms": 300}

WORKS = [
    Work("schedule-1", "schedule, one connection, one request at a time",
         "schedule", {**SHORT, "connections": 1}, QUICK),
    Work("schedule-64", "schedule, 64 connections, one request at a time on each",
         "schedule", {**SHORT, "connections": 64}, QUICK),
    Work("batch", "schedule, 64 connections with 16 requests under way on each, or in batches",
         "schedule", {**SHORT, "connections": 64, "depth": 16}, QUICK),
    Work("settle", "settle by key, 64 connections, one request at a time on each",
         "settle", {**SHORT, "connections": 64}, QUICK),
    Work("paced", "schedule, 2,000 arrivals a second over 64 connections: from arrival to answer",
         "paced", {**SHORT, "connections": 64, "rate": 2_000}, QUICK, figure="p99"),
    Work("lateness", "50,000 due over 20 s, two workers: from due until a worker had it",
         "due", {**LEASES, "count": 50_000, "time_ms": 20_000}, {"count": 2_000, "time_ms": 1_000}, True, "p99"),
    Work("stampede", "100,000 due in one millisecond, leases of 100, a verdict each: from due until the verdict stood",
         "due", {**LEASES, "count": 100_000, "time_ms": 0}, {"count": 4_000}, True, "seconds"),
    Work("storm", "1,000,000 due in one millisecond: until every lapse is durable; times are those of settles of others meanwhile",
         "storm", {"connections": 33, "count": 1_000_000, "time_ms": 0}, {"count": 20_000}, True, "seconds",
         only=("duly-redis",)),
    Work("webhooks", "50,000 due in one millisecond, each a signed webhook of its own: until the last has arrived",
         "webhooks", {"connections": 2, "count": 50_000, "time_ms": 0}, {"count": 2_000}, True, "rate", only=("duly-http",)),
    *(Work(f"webhooks-{name}", f"20,000 webhooks over 10 s, {beside}: from due until it has arrived",
           "webhooks", {"connections": 2, "count": 20_000, "time_ms": 10_000, "bad_pairs": pairs},
           {"count": 2_000, "time_ms": 1_000}, True, "p99", only=("duly-http",))
      for name, pairs, beside in [
          ("alone", 0, "alone"), ("beside", 2, "beside two targets that answer after 2 s and two that never do")]),
    Work("pending", "1,000,000 pending: memory and disk for each, and a restart after kill -9",
         "pending", {"connections": 16, "depth": 64, "count": 1_000_000, "time_ms": 300_000}, {"count": 20_000},
         True, "memory"),
    *(Work(f"setex-{connections}x{depth}",
           f"redis-benchmark: SETEX of 100,000 keys at random, {connections} connections, {depth} in a pipeline",
           "setex", {"connections": connections, "depth": depth, "count": count}, {"count": count // 50}, only=SETEX)
      for connections, depth, count in [(1, 1, 8_000), (1, 16, 80_000), (64, 1, 100_000), (64, 16, 400_000)]),
]


def options(work, rival, quick):
    """What the generator is asked for; a text where this is not done."""
    if work.only and rival.name not in work.only:
        return "this server, or this protocol, has no such thing"
    particular = rival.works.get(work.name, {})
    if isinstance(particular, str):
        return particular
    asked = {**work.options, **particular}
    if quick:
        asked |= {name: min(value, asked.get(name, value)) for name, value in work.quick.items()}
    return asked
