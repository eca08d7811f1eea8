#!/usr/bin/env python3
"""How long a restart takes with many pending deadlines: from its start until it says it is ready.

A measurement, run by `scripts/restart-bench`: it prints what it saw, after a clean stop and after
`kill -9`. What it checks is only that every deadline is still there.
"""

import json
import sys
import time

from blackbox import Suite, now_ms, rfc3339

PENDING = 100_000
LINES = 5_000
ROUNDS = 3


def main():
    bound = float(sys.argv[sys.argv.index("--bound") + 1]) if "--bound" in sys.argv else None
    with Suite("restart", floor=PENDING // LINES + 2 * ROUNDS) as suite:
        server = suite.server()
        began = time.monotonic()
        fill(suite, server)
        print(f"{PENDING} scheduled in {time.monotonic() - began:.1f} s")
        slowest = 0.0
        for how in ["stop", "kill"] * ROUNDS:
            getattr(server, how)()
            began = time.monotonic()
            server.start()
            took = time.monotonic() - began
            slowest = max(slowest, took)
            with server.client() as client:
                stats = client.get("/v1/queues/orders/stats").json
            print(f"ready {took * 1000:.0f} ms after `{how}` with {PENDING} pending")
            suite.check(str(PENDING) in json.dumps(stats), f"all are pending: {stats}")
        if bound is not None:
            suite.check(slowest <= bound, f"the slowest took {slowest:.2f} s, not {bound:g}")


def fill(suite, server):
    """Schedules them in batches, all in the next month."""
    with server.client() as client:
        for first in range(0, PENDING, LINES):
            lines = [
                json.dumps(
                    {
                        "op": "schedule",
                        "queue": "orders",
                        "key": f"order-{number:08d}",
                        "due": rfc3339(now_ms() + 3_600_000 + number * 25_000),
                        "payload": {"order": number},
                    }
                )
                for number in range(first, first + LINES)
            ]
            reply = client.ask("POST", "/v1/batch", "\n".join(lines).encode() + b"\n")
            good = reply.status == 200 and reply.raw.count(b"\n") >= LINES - 1
            suite.check(good, f"a batch of {LINES}: {reply!r}")


if __name__ == "__main__":
    main()
