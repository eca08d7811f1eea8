#!/usr/bin/env python3
"""Observe mode beside a shop's own cron: the report must be the truth, row by row, and nothing touched.

The shop is a table in a private MariaDB; this suite is its customers and its cron, which cancels
without looking twice, as they do. Everything that it does to a row it writes down, so it knows what
became of each, when, and what would have been right. Duly watches with a user that may only read. One
table tells when a row was changed and keeps its payments apart; the other has nothing but a status.
The same in short on PostgreSQL and SQLite.
Then `duly reconcile`: what differs between table and deadlines is said first and put right on demand.
"""

import datetime
import json
import os
import re
import sqlite3
import subprocess
import sys
import threading
import time
from zoneinfo import ZoneInfo

from blackbox import Suite, instant, now_ms, until
from peers.database import USER, Mariadb, Postgres, Session

DELAY = 4_000
"""An order is due so long after it was placed, in milliseconds."""
ORDERS = 45
"""Orders of each table."""
EVERY = 5.0
"""Seconds between two runs of the cron."""
PLANS = ("late", "in_time", "early", "race", "paid_late", "after", "open", "gone", "about")
"""What happens to orders, in turn."""


def main():
    named = sys.argv[2:]
    with Suite("shadow", floor=1 if named else 600) as suite:
        # The example takes its time, and the others need not wait for it.
        example = Example(suite) if not named or "example" in named else None
        for part in (beside_a_cron, elsewhere, hourly, reconcile):
            if not named or part.__name__ in named:
                print(part.__name__, flush=True)
                part(suite)
        if example is not None:
            print("example", flush=True)
            example.check(suite)


def text(ms):
    """An instant as the shop writes it."""
    at = datetime.datetime.fromtimestamp(ms / 1000, datetime.timezone.utc)
    return at.strftime("%Y-%m-%d %H:%M:%S.") + f"{ms % 1000:03d}"


def stamp():
    """Now, and never a whole second: a column that shows one may have cut something off."""
    now = now_ms()
    return now + 1 if now % 1000 == 0 else now


class Example:
    """`examples/shadow/run`, at a pace for the impatient."""

    def __init__(self, suite):
        folder = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "examples", "shadow")
        line = [os.path.join(folder, "run"), "--duly", suite.binary]
        line += ["--within", "3", "--cron", "4", "--every", "0.2", "--for", "15"]
        self.process = subprocess.Popen(
            line, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        suite.to_stop.append(self)

    def check(self, suite):
        """It guessed right, saw a cron that was late, and printed a report."""
        said, _ = self.process.communicate(timeout=60)
        print(said, flush=True)
        suite.equal(self.process.returncode, 0, "how the example ended")
        for words in ("cancelled = \"`status` IN ('cancelled')\"", "paid = \"`paid_at` IS NOT NULL\"",
                      "changed = \"updated_at\"", "shop-orders  observed since", "What Duly would have done"):
            suite.check(words in said, f"{words!r} is not in what it said")
        for what in ("cancelled, when due or later", "paid in time", "cancelled at their due time"):
            found = re.search(rf"^  (\d+) +{what}", said, re.MULTILINE)
            suite.check(found and int(found[1]) > 0, f"{what}: {found and found[0]!r}")

    def stop(self):
        """Has it take everything down that it has started."""
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(20)


class Shop:
    """One table, its customers and its cron, and what they did to each row."""

    def __init__(self, database, table, tells):
        self.database, self.table, self.tells = database, table, tells
        self.due, self.plan, self.done = {}, {}, {}
        self.stopping = threading.Event()
        self.lock = threading.Lock()
        self.threads = []
        self.gap = 0.03 if tells else 2.5
        database.run(
            f"CREATE TABLE {table} (id BIGINT PRIMARY KEY, created_at DATETIME(3) NOT NULL,"
            " status VARCHAR(20) NOT NULL, paid_at DATETIME(3), updated_at DATETIME(3),"
            " KEY (status, created_at))",
            f"GRANT SELECT ON {table} TO {USER}",
        )

    def config(self):
        """Its watch."""
        told = ("paid = \"paid_at IS NOT NULL\"\nchanged = \"updated_at\"" if self.tells
                else "paid = \"status = 'paid'\"")
        return f"""
[watches.{self.table}]
database = "shop"
table = "{self.table}"
key = "id"
created = "created_at"
delay = "{DELAY // 1000}s"
open = "status = 'unpaid'"
outcome = "status"
time_zone = "UTC"
period = "500ms"
[watches.{self.table}.report]
cancelled = "status = 'cancelled'"
{told}
"""

    def begin(self, work, *what):
        """Does something beside everything else."""
        thread = threading.Thread(target=self.run, args=(work, *what), daemon=True)
        thread.start()
        self.threads.append(thread)

    def run(self, work, *what):
        with Session(self.database) as session:
            work(session, *what)

    def customers(self, session):
        """Places orders, one after the other, and begins what happens to each."""
        for number in range(1, ORDERS + 1):
            plan = PLANS[number % len(PLANS)]
            created = stamp()
            self.due[number], self.plan[number], self.done[number] = created + DELAY, plan, []
            session.run(
                f"INSERT INTO {self.table} VALUES ({number}, '{text(created)}', 'unpaid', NULL, NULL)")
            late = {"in_time": -2_600, "early": -2_600, "paid_late": 1_200, "gone": 700,
                    "about": 0 if self.tells else 1_400}.get(plan)
            if late is not None:
                self.begin(self.later, number, self.due[number] + late)
            time.sleep(0.15)

    def later(self, session, number, at):
        """What a customer or a shopkeeper does to an order at a certain time."""
        time.sleep(max(0, at - now_ms()) / 1000)
        what = {"early": "cancelled", "gone": "deleted"}.get(self.plan[number], "paid")
        self.act(session, number, what, "AND status = 'unpaid'")

    def act(self, session, number, what, guard=""):
        """Does it, and writes it down if it came to anything."""
        now, which = stamp(), f"WHERE id = {number} {guard}"
        change = {
            "paid": f"UPDATE {self.table} SET status = 'paid', paid_at = '{text(now)}',"
                    f" updated_at = '{text(now)}' {which}",
            "cancelled": f"UPDATE {self.table} SET status = 'cancelled', updated_at = '{text(now)}' {which}",
            "deleted": f"DELETE FROM {self.table} {which}",
            "money": f"UPDATE {self.table} SET paid_at = '{text(now)}', updated_at = '{text(now)}' {which}",
        }[what]
        if session.run(change).rowcount == 1:
            with self.lock:
                what = "paid" if what == "money" else what
                self.done[number].append((what, now, now_ms()))

    def cron(self, session):
        """Cancels what is old enough, as a cron does: one by one, and without a second look."""
        while not self.stopping.wait(EVERY):
            before = text(now_ms() - DELAY)
            found = [row[0] for row in session.rows(
                f"SELECT id FROM {self.table} WHERE status = 'unpaid' AND created_at < '{before}'")]
            found = [number for number in found if self.plan[number] != "open"]
            for number in found:
                if self.plan[number] == "race":
                    self.act(session, number, "paid", "AND status = 'unpaid'")
            time.sleep(self.gap)
            for number in found:
                # Who has paid since has been seen to be unpaid. Of the others a guard is kept, so that
                # the plan decides which of them race.
                guard = "" if self.plan[number] == "race" else "AND status = 'unpaid'"
                self.act(session, number, "cancelled", guard)
                if self.plan[number] == "after" and self.tells:
                    self.begin(self.money, number)

    def money(self, session, number):
        """Money that comes for an order that has been cancelled."""
        time.sleep(1.5)
        self.act(session, number, "money")

    def truth(self, number):
        """What became of an order: its fate, when it was closed and paid, what Duly would have done."""
        due, done = self.due[number], self.done[number]
        first = {}
        for what, *when in done:
            first.setdefault(what, when)
        if not done:
            return "overdue", None, None, "cancelled"
        instead = "kept" if done[0][1] < due else "cancelled"
        cancelled, paid = first.get("cancelled"), first.get("paid")
        if cancelled and paid:
            fate = ("paid_after_cancelled" if cancelled[0] < paid[0] else "cancelled_although_paid")
        elif cancelled:
            fate = "cancelled_early" if cancelled[0] < due else "cancelled_late"
        elif paid:
            fate = "paid_in_time" if paid[0] < due else "paid_late"
        else:
            fate = "closed_early" if done[0][1] < due else "closed_late"
        return fate, cancelled or done[0][1:], paid, instead

    def check(self, suite, report):
        """Is the report the truth?"""
        truths = {number: self.truth(number) for number in self.due}
        counts = {}
        for fate, *_ in truths.values():
            counts[fate] = counts.get(fate, 0) + 1
        others = dict(report["others"])
        suite.equal(others.pop("overdue_long"), 0, f"{self.table}: overdue for long")
        found = {fate: count for fate, count in others.items() if count}
        suite.equal(found, counts, f"{self.table}: what became of the orders")
        suite.equal(report["followed"], ORDERS, f"{self.table}: orders that were followed")
        rows = {int(row["key"]): (fate, row) for fate, rows in report["rows"].items() for row in rows}
        for number, (fate, closed, paid, instead) in truths.items():
            name = f"{self.table} {number} ({self.plan[number]})"
            if fate in ("paid_in_time", "closed_early"):
                suite.check(number not in rows, f"{name}: named, though it is as it should be")
                continue
            if not suite.check(number in rows, f"{name}: {fate}, and not named"):
                continue
            told, row = rows[number]
            suite.equal(told, fate, f"{name}: {self.done[number]}, {row}")
            suite.equal(instant(row["due"]), self.due[number], f"{name}: due")
            is_near = self.done[number] and abs(self.done[number][0][1] - self.due[number]) < 100
            if not is_near:
                suite.equal(row["instead"], instead, f"{name}: what Duly would have done")
            self.check_when(suite, f"{name}: closed", row["closed"], closed)
            if closed is not None and self.tells and self.done[number][0][0] != "deleted":
                suite.equal(row["late_ms"], closed[0] - self.due[number], f"{name}: how late")
            self.check_when(suite, f"{name}: paid", row["paid"], paid)
        late = [closed[0] - self.due[number] for number, (fate, closed, *_) in truths.items()
                if fate in ("cancelled_late", "closed_late")]
        suite.equal(report["late"]["count"], len(late), f"{self.table}: rows closed late")
        # Each row's lateness has been held against the truth; the distribution is that of the rows.
        named = sorted(row["late_ms"] for fate, row in rows.values()
                       if fate in ("cancelled_late", "closed_late"))
        for word, percent in (("median", 50), ("p90", 90), ("p99", 99), ("worst", 100)):
            wanted = named[-(-len(named) * percent // 100) - 1]
            found = report["late"][f"{word}_ms"]
            suite.check(wanted <= found < wanted * 1.011 + 1, f"{self.table}: {word} {found}, not {wanted}")
        suite.check(report["late"]["within_ms"] <= 2_500, f"{self.table}: {report['late']}")
        told = sum(self.done[number][0][0] != "deleted" for number, (fate, *_) in truths.items()
                   if fate in ("cancelled_late", "closed_late"))
        suite.equal(report["late"]["told"], told if self.tells else 0, f"{self.table}: told by a column")
        would = report["instead"]
        suite.equal(sum(would[it] for it in ("cancelled", "kept", "unclear")), ORDERS,
                    f"{self.table}: all are accounted for: {would}")
        wanted = sum(instead == "cancelled" for *_, instead in truths.values())
        near = PLANS.index("about") and sum(plan == "about" for plan in self.plan.values())
        suite.check(abs(would["cancelled"] - wanted) <= near, f"{self.table}: {would}, not {wanted}")

    def check_when(self, suite, name, found, wanted):
        """Is this when it was? `wanted` is what was written, and when that was done."""
        if wanted is None or found is None:
            suite.equal(found, wanted, name)
            return
        earliest, latest = instant(found["earliest"]), instant(found["latest"])
        suite.check(earliest <= wanted[1] and latest >= wanted[0], f"{name}: {found}, not {wanted}")
        # A row is read again within the last two seconds before it is due, and then at every period.
        suite.check(latest - earliest <= 4_000, f"{name}: {found} is vague")

    def untouched(self, suite):
        """Nobody but the shop has written to its table."""
        rows = dict(self.database.rows(f"SELECT id, status FROM {self.table}"))
        for number, done in self.done.items():
            words = [what for what, *_ in done]
            wanted = "unpaid" if not words else words[-1]
            if "deleted" in words:
                wanted = None
            elif "cancelled" in words:
                wanted = "cancelled"
            suite.equal(rows.get(number), wanted, f"{self.table} {number}: what stands in the table")


def beside_a_cron(suite):
    """A cron that cancels without a second look, and payments in its way."""
    database = Mariadb(["--skip-log-bin", "--innodb-log-file-size=8M"])
    suite.to_stop.append(database)
    database.make()
    shops = [Shop(database, "told_orders", True), Shop(database, "seen_orders", False)]
    config = f'[databases.shop]\ndsn = "{database.dsn()}"\n[journal]\nsegment_size = "1MiB"\n'
    server = suite.server("shadow", config + "".join(shop.config() for shop in shops))
    for shop in shops:
        shop.begin(shop.customers)
        shop.begin(shop.cron)
    with server.client() as client:
        def report(shop):
            return client.get(f"/v1/watches/{shop.table}")["report"]

        def is_over(shop):
            """All that was to happen has happened."""
            def over(number):
                words = [what for what, *_ in shop.done[number]]
                plan = shop.plan[number]
                races = {"race": ["paid", "cancelled"]}
                if shop.tells:
                    races["after"] = ["cancelled", "paid"]
                return plan == "open" or words and (plan not in races or words == races[plan])
            return len(shop.due) == ORDERS and all(over(number) for number in shop.due)

        for shop in shops:
            until(lambda: is_over(shop), f"all has happened to {shop.table}", patience=40)
        ended = now_ms()

        def counted(shop):
            """The report has come to all of it: each order stands somewhere, also the last ones."""
            others = report(shop)["others"]
            wanted = {}
            for number in shop.due:
                fate = shop.truth(number)[0]
                wanted[fate] = wanted.get(fate, 0) + 1
            return all(others[fate] == count for fate, count in wanted.items())

        for shop in shops:
            try:
                until(lambda: counted(shop), f"the report on {shop.table}", patience=12)
            except AssertionError:
                """What is missing is said below, by name."""
            shop.check(suite, report(shop))
            shop.untouched(suite)
        print(f"reported {now_ms() - ended} ms after the last thing happened", flush=True)
        grants = [row[0] for row in database.rows(f"SHOW GRANTS FOR {USER}")]
        for grant in grants:
            suite.check(grant.startswith(("GRANT USAGE", "GRANT SELECT ON")), f"Duly may do: {grant}")
        spoken(suite, server, client, shops)
    server.stop()
    suite.check(server.said().count("what a watch has observed") == 2, "the log says it at the end")
    # What was overdue and open is followed again; what was counted is not.
    server.start()
    with server.client() as client:
        again = until(lambda: client.get("/v1/watches/told_orders")["report"], "there is a report")
        suite.check(instant(again["since"]) > ended, "it begins with the server")
        shop = shops[0]
        still = sum(plan == "open" for plan in shop.plan.values())
        client.ask("POST", "/v1/watches/told_orders/reconcile", {})
        overdue = lambda: client.get("/v1/watches/told_orders")["report"]["others"]["overdue"]
        until(lambda: overdue() == still, "overdue rows are followed again")
    server.stop()
    for shop in shops:
        shop.stopping.set()
    for thread in (thread for shop in shops for thread in shop.threads):
        thread.join(EVERY + 5)
    database.stop()


def elsewhere(suite):
    """PostgreSQL and SQLite: payments in a table of their own, and columns of several kinds of time."""
    postgres = Postgres()
    suite.to_stop.append(postgres)
    postgres.make()
    path = suite.path("elsewhere.db")
    sqlite = sqlite3.connect(path, isolation_level=None)
    sqlite.execute("PRAGMA journal_mode = WAL")
    berlin = lambda ms: f"{datetime.datetime.fromtimestamp(ms / 1000, ZoneInfo('Europe/Berlin')):%Y-%m-%d %H:%M:%S.%f}"
    # Who runs a statement; its dsn; the types of when a row was created, is due and was changed; and how
    # each is written.
    shops = {
        "postgres": (postgres.run, postgres.dsn(), ("TIMESTAMPTZ", "TIMESTAMP", "TIMESTAMPTZ"),
                     (lambda ms: text(ms) + "+00", berlin, lambda ms: text(ms) + "+00")),
        "sqlite": (sqlite.execute, f"sqlite://{path}", ("INTEGER", "TEXT", "INTEGER"), (str, berlin, str)),
    }
    config = '[journal]\nsegment_size = "1MiB"\n'
    for name, (run, dsn, types, _) in shops.items():
        run(f"CREATE TABLE orders (id BIGINT PRIMARY KEY, created {types[0]}, due {types[1]},"
            f" status VARCHAR(20), changed {types[2]})")
        run("CREATE INDEX open_orders ON orders (status, created)")
        run("CREATE TABLE payments (order_id BIGINT PRIMARY KEY)")
        if name == "postgres":
            run(f"GRANT SELECT ON orders, payments TO {USER}")
        config += f"""
[databases.{name}]
dsn = "{dsn}"
[watches.{name}]
database = "{name}"
table = "orders"
key = "id"
created = "created"
due = "due"
open = "status = 'unpaid'"
outcome = "status"
time_zone = "Europe/Berlin"
period = "500ms"
[watches.{name}.report]
cancelled = "status = 'cancelled'"
paid = "EXISTS (SELECT 1 FROM payments WHERE payments.order_id = orders.id)"
changed = "changed"
"""
    server = suite.server("elsewhere", config)
    due, cancelled = now_ms() + 4_000, {}
    with server.client() as client:
        for name, (run, _, _, written) in shops.items():
            created = now_ms()
            for number in (1, 2, 3):
                run(f"INSERT INTO orders VALUES ({number}, '{written[0](created)}', '{written[1](due)}',"
                    f" 'unpaid', NULL)")
        for name in shops:
            until(lambda: client.read(name, 3), f"{name}: they have deadlines")
            suite.equal(instant(client.read(name, 3)["due"]), due, f"{name}: due in its own zone")
        time.sleep(max(0, due + 1_000 - now_ms()) / 1000)
        for name, (run, _, _, written) in shops.items():
            cancelled[name] = stamp()
            run("INSERT INTO payments VALUES (1)")
            run(f"UPDATE orders SET status = 'cancelled', changed = '{written[2](cancelled[name])}' WHERE id < 3")
        for name in shops:
            report = lambda: client.get(f"/v1/watches/{name}")["report"]
            until(lambda: report()["others"]["cancelled_late"] == 1, f"{name}: one was cancelled late")
            said = report()
            rows = {fate: [(row["key"], row["late_ms"]) for row in rows] for fate, rows in said["rows"].items()}
            late = cancelled[name] - due
            suite.equal(rows["cancelled_late"], [("2", late)], f"{name}: cancelled late")
            suite.equal(rows["cancelled_although_paid"], [("1", late)], f"{name}: although paid")
            suite.equal([key for key, _ in rows["overdue"]], ["3"], f"{name}: still open")
            suite.equal(said["instead"]["cancelled"], 3, f"{name}: what Duly would have done")
            suite.equal(said["late"]["told"], 1, f"{name}: told by the column")
    server.stop()
    sqlite.close()
    postgres.stop()


def hourly(suite):
    """The log has the account every hour."""
    path = suite.path("hourly.db")
    shop = sqlite3.connect(path, isolation_level=None)
    shop.executescript(
        "PRAGMA journal_mode = WAL;"
        "CREATE TABLE orders (id INTEGER PRIMARY KEY, created INTEGER NOT NULL, status TEXT NOT NULL);"
        "CREATE INDEX open_orders ON orders (status, created);")
    server = suite.server("hourly", f"""
[databases.shop]
dsn = "sqlite://{path}"
[journal]
segment_size = "1MiB"
[watches.orders]
database = "shop"
table = "orders"
key = "id"
created = "created"
delay = "10m"
open = "status = 'unpaid'"
""", args=["--clock", "manual"])
    with server.client() as client:
        def advance(by):
            return instant(client.ask("POST", "/v1/clock/advance", {"by": by})["clock"]["now"])

        def comes(condition, what):
            """Waits for it while time goes on, a second at a time."""
            until(lambda: advance("1s") and condition(), what)

        shop.execute("INSERT INTO orders VALUES (1, ?, 'unpaid')", (advance("1s"),))
        comes(lambda: client.read("orders", 1), "it has a deadline")
        others = lambda: client.get("/v1/watches/orders")["report"]["others"]
        advance("11m")
        comes(lambda: others()["overdue"] == 1, "it is overdue")
        shop.execute("UPDATE orders SET status = 'shut'")
        comes(lambda: others()["closed_late"] == 1, "it was closed")
        told = lambda: server.said().count("what a watch has observed")
        suite.equal(told(), 0, "nothing is told before the hour is over")
        advance("50m")
        comes(lambda: told() == 1, "it is told when the hour is over")
        suite.check("late_worst" in server.said(), "with how late it was")
        said = duly(suite, server, "watch", "report")
        suite.check("It was not told which closed rows were cancelled" in said, said)
    server.stop()
    shop.close()


def duly(suite, server, *words, status=0):
    """What a command says."""
    url = f"http://127.0.0.1:{server.port}"
    said = subprocess.run([suite.binary, *words, "--url", url], capture_output=True, text=True,
                          check=False, env={**os.environ, "NO_COLOR": "1"})
    suite.equal(said.returncode, status, f"duly {' '.join(words)}: {said.stdout}{said.stderr}")
    return said.stdout


def spoken(suite, server, client, shops):
    """The same for people, for scripts and for Prometheus."""
    shop = shops[0]
    said = duly(suite, server, "watch", "report", shop.table)
    print(said, flush=True)
    lost = [str(number) for number in shop.due if shop.truth(number)[0] == "cancelled_although_paid"]
    for key in lost:
        suite.check(any(line.split()[:1] == [key] and "although paid" in line
                        for line in said.splitlines()), f"{key} is named in\n{said}")
    for words in (f"{len(lost)}  cancelled although paid", "as the table tells it", "What Duly would"):
        suite.check(words in said, f"{words!r} is not in\n{said}")
    said = duly(suite, server, "watch", "report")
    for words in (*(shop.table for shop in shops), "the table does not tell when a row was closed"):
        suite.check(words in said, f"{words!r} is not in\n{said}")
    said = json.loads(duly(suite, server, "watch", "report", shop.table, "--json"))
    suite.equal(said["report"]["others"]["cancelled_although_paid"], len(lost), "the JSON")
    duly(suite, server, "watch", "report", "nothing", status=1)
    names = [watch["name"] for watch in client.get("/v1/watches")["watches"]]
    suite.equal(names, sorted(shop.table for shop in shops), "the list of watches")
    scraped = client.get("/metrics").raw.decode()
    line = f'duly_watch_observed{{watch="{shop.table}",fate="cancelled_although_paid"}} {len(lost)}'
    suite.check(line in scraped, f"{line} is in the metrics")


def reconcile(suite):
    """What differs is said first, and put right when it is asked for."""
    path = suite.path("reconcile.db")
    shop = sqlite3.connect(path, isolation_level=None)
    shop.executescript(
        "PRAGMA journal_mode = WAL;"
        "CREATE TABLE orders (id INTEGER PRIMARY KEY, created_at TEXT NOT NULL, pay_before TEXT,"
        " status TEXT NOT NULL); CREATE INDEX open_orders ON orders (status, created_at);")

    def place(number, created, due):
        shop.execute("INSERT INTO orders VALUES (?, ?, ?, 'unpaid')",
                     (number, text(created), text(due)))

    far, old = now_ms() + 3_600_000, now_ms() - 600_000
    for number in range(1, 7):
        place(number, old, far)
    server = suite.server("reconcile", f"""
[databases.shop]
dsn = "sqlite://{path}"
[journal]
segment_size = "1MiB"
[watches.orders]
database = "shop"
table = "orders"
key = "id"
created = "created_at"
due = "pay_before"
open = "status = 'unpaid'"
outcome = "status"
time_zone = "UTC"
start = "all"
reconcile = "6h"
""")

    with server.client() as client:
        # The times of the others are believed when one is seen to be new.
        place(7, now_ms(), far)
        for number in range(1, 8):
            until(lambda: client.read("orders", number), f"{number} has a deadline")
        # What no look finds: committed long after it was created, paid, moved, deleted; and one that
        # is overdue already.
        for number in range(10, 15):
            place(number, old, far)
        place(20, old, now_ms() - 60_000)
        shop.execute("UPDATE orders SET status = 'paid' WHERE id IN (1, 2)")
        shop.execute("DELETE FROM orders WHERE id = 3")
        moved = far + 60_000
        shop.execute("UPDATE orders SET pay_before = ? WHERE id = 4", (text(moved),))
        wanted = {"unarmed": ["10", "11", "12", "13", "14"], "closed": ["1", "2", "3"],
                  "moved": ["4"], "overdue": ["20"]}

        def found(reply, repaired):
            rows = {it["kind"]: (sorted(it["keys"], key=int), it["count"], it["repaired"])
                    for it in reply["reconciliation"]["found"]}
            suite.equal(rows, {kind: (keys, len(keys), repaired and kind != "overdue" and len(keys) or 0)
                               for kind, keys in wanted.items()}, "what was found")

        dry = client.ask("POST", "/v1/watches/orders/reconcile", {"dry_run": True})
        suite.equal(dry.status, 200, f"a dry run: {dry!r}")
        found(dry, False)
        suite.equal(client.read("orders", 10), None, "a dry run arms nothing")
        suite.equal(client.read("orders", 1)["state"], "pending", "and settles nothing")
        said = duly(suite, server, "reconcile", "orders", "--dry-run")
        for words in ("nothing was changed", "5  open rows without a deadline", "not put right",
                      "10, 11, 12, 13, 14"):
            suite.check(words in said, f"{words!r} is not in\n{said}")
        reply = client.ask("POST", "/v1/watches/orders/reconcile", {})
        suite.equal(reply.status, 200, f"a reconciliation: {reply!r}")
        found(reply, True)
        suite.equal(reply["reconciliation"]["skipped"], None, "nothing was left out")
        for number in range(10, 15):
            suite.equal((client.read("orders", number) or {}).get("state"), "pending", f"{number}")
        suite.equal([client.read("orders", n)["outcome"] for n in (1, 2, 3)],
                    ["paid", "paid", "deleted"], "what was closed is settled")
        suite.equal(instant(client.read("orders", 4)["due"]), moved, "what was moved is moved")
        suite.equal(client.read("orders", 20), None, "what is overdue is left alone")
        wanted = {"overdue": ["20"]}
        said = duly(suite, server, "reconcile")
        suite.check("left to you" in said and "20" in said, said)
        said = json.loads(duly(suite, server, "reconcile", "orders", "--json"))
        found(said, True)
        shown = client.get("/v1/watches/orders")["reconciliation"]
        suite.equal(shown["state"], "done", "the watch shows the last one")
        duly(suite, server, "reconcile", "nothing", status=1)
        for path, body, code in (
            ("nothing", {}, "unknown_watch"), ("orders", {"wait": "2m"}, "bad_field"),
            ("orders", {"dry": True}, "unknown_field"),
        ):
            reply = client.ask("POST", f"/v1/watches/{path}/reconcile", body)
            suite.equal(reply["code"], code, f"{path} {body}: {reply!r}")
        # A table that is not there any more cannot be compared.
        shop.execute("ALTER TABLE orders RENAME TO others")
        reply = client.ask("POST", "/v1/watches/orders/reconcile", {})
        suite.equal((reply.status, reply["code"]), (503, "watch_held_up"), f"{reply!r}")
        duly(suite, server, "reconcile", status=1)
    server.stop()
    shop.close()


if __name__ == "__main__":
    main()
