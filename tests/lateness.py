#!/usr/bin/env python3
"""Unpaid orders in the shop's own table are cancelled when they are due, and never before.

50 unpaid orders, and 50 that are paid meanwhile, are due at instants of their own; the `sql` target
cancels with one guarded statement in a SQLite database, which writes down its own clock. The test
is that none is early and none that was paid is touched. How late they are is printed; only
`scripts/lateness` holds that against a bound, with `--bound MEDIAN_MS`.
"""

import sqlite3
import statistics
import sys

from blackbox import Suite, now_ms, rfc3339, until

ORDERS = 50
APART_MS = 60
CLOCK = "CAST(round(unixepoch('subsec') * 1000) AS INTEGER)"


def main():
    bound = float(sys.argv[sys.argv.index("--bound") + 1]) if "--bound" in sys.argv else None
    with Suite("lateness", floor=ORDERS * 3) as suite:
        file = suite.path("shop.db")
        shop = sqlite3.connect(file, timeout=20, isolation_level=None)
        shop.execute("PRAGMA journal_mode=WAL")
        shop.execute(
            "CREATE TABLE orders (id TEXT PRIMARY KEY, status TEXT, due INTEGER,"
            " cancelled_at INTEGER, cancelled_by TEXT)"
        )
        server = suite.server(config=CONFIG.format(file=file, clock=CLOCK))
        first = now_ms() + 2_000
        dues = {f"o{number}": first + number * APART_MS for number in range(ORDERS)}
        with server.client() as client:
            for key, due in dues.items():
                for name in (key, f"paid-{key}"):
                    shop.execute("INSERT INTO orders VALUES (?,'unpaid',?,NULL,NULL)", (name, due))
                    reply = client.schedule("orders", name, due=rfc3339(due))
                    suite.equal(reply.status, 201, f"schedule {name}: {reply!r}")
            for key in dues:
                # Paid in the table only, as when the settle is on its way: the guard decides.
                shop.execute("UPDATE orders SET status='paid' WHERE id=?", (f"paid-{key}",))
            open_ones = "SELECT count(*) FROM orders WHERE status='unpaid'"
            until(lambda: shop.execute(open_ones).fetchone() == (0,), "all unpaid are cancelled")
            verdicts = {}
            for key in dues:
                for name, state in ((key, "done"), (f"paid-{key}", "superseded")):
                    delivery = lambda: client.read("orders", name)["delivery"]
                    until(lambda: delivery()["state"] == state, f"{name} is {state}")
                    verdicts[name] = delivery()["id"]
        late = []
        rows = shop.execute("SELECT id, status, due, cancelled_at, cancelled_by FROM orders")
        for name, status, due, at, by in rows.fetchall():
            if name.startswith("paid-"):
                suite.equal((status, at), ("paid", None), f"{name} was paid")
            else:
                suite.equal((status, by), ("cancelled", verdicts[name]), f"{name} was not paid")
                suite.check(at >= due, f"{name} was cancelled {due - at} ms early")
                late.append(at - due)
        late.sort()
        median = statistics.median(late)
        print(
            f"cancelled after they were due, in ms: median {median:g}, "
            f"p90 {late[len(late) * 9 // 10]}, most {late[-1]}, of {len(late)}"
        )
        if bound is not None:
            suite.check(median <= bound, f"the median is {median:g} ms, not within {bound:g}")


CONFIG = """
[databases.shop]
dsn = "sqlite://{file}"

[sql.cancel-order]
database = "shop"
steps = [
  "UPDATE orders SET status='cancelled', cancelled_at={clock}, cancelled_by=:delivery_id WHERE id=:key AND status='unpaid'",
]
applied = "SELECT 1 FROM orders WHERE id=:key AND cancelled_by=:delivery_id"

[queues.orders]
target = {{ sql = "cancel-order" }}
"""

if __name__ == "__main__":
    main()
