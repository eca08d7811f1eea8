#!/usr/bin/env python3
"""A million orders in MariaDB, ten thousand of them unpaid: Duly's table watch beside a cron poller.

Two tables with the same orders. Their due times are spread over a minute; three of ten unpaid orders are
paid in their last second, some at the very due time. Duly watches one table and cancels by a guarded
statement; a poller of the usual kind runs over the other once a second. A trigger of the table writes
down every change with its time, so the table itself is the witness: what was cancelled, how often, how
late, and whether it had been paid.

What Duly must do is checked: each unpaid order is cancelled once and not early, no paid one is touched,
stock is given back once, and while nothing is due it asks at most two questions a second. How late each was and
what it cost the database is measured and printed; it is judged only beside the poller of the same run, which
shares the machine and its load: half of Duly's come sooner than half of the poller's.
"""

import random
import threading
import time

import pymysql

from blackbox import Suite, until
from peers.database import NAME, PASSWORD, Mariadb

ORDERS = 1_000_000
UNPAID = 10_000
PAID = 3_000
"""Of the unpaid ones, paid in the last second before they are due, or in that very millisecond."""
SPREAD_MS = 60_000
"""The due times lie this far apart, the first to the last."""
LEAD_MS = 30_000
"""From the making of the tables to the first due time."""
DELAY_MS = 30 * 60_000
PAYERS = 8
TABLES = ("orders", "polled")
QUIET = 10
"""For so many seconds it is counted what is asked while nothing is due."""


def stage(database):
    """The tables, with their witness, and two users whose work is counted."""
    database.run(
        "CREATE TABLE products (id INT PRIMARY KEY, stock INT NOT NULL)",
        "CREATE TABLE polled_products (id INT PRIMARY KEY, stock INT NOT NULL)",
        "INSERT INTO products SELECT seq, 0 FROM seq_1_to_50",
        "INSERT INTO polled_products SELECT seq, 0 FROM seq_1_to_50",
    )
    for table in TABLES:
        database.run(
            f"CREATE TABLE {table} (id INT PRIMARY KEY, product INT NOT NULL, status VARCHAR(16) NOT NULL,"
            " created_at DATETIME(3) NOT NULL, cancelled_by VARCHAR(64),"
            " KEY open_orders (status, created_at)) ENGINE=InnoDB",
            f"CREATE TABLE {table}_seen (id INT NOT NULL, old VARCHAR(16), new VARCHAR(16),"
            " at DATETIME(6) NOT NULL)",
            # Nine hundred and ninety thousand orders of the past year are over.
            f"INSERT INTO {table} SELECT seq, 1 + seq % 50, IF(seq % 3, 'paid', 'cancelled'),"
            f" UTC_TIMESTAMP(3) - INTERVAL (1 + seq % 365) DAY, NULL FROM seq_1_to_{ORDERS - UNPAID}",
        )
    first = database.one("SELECT UTC_TIMESTAMP(3)")
    for table in TABLES:
        step = SPREAD_MS / UNPAID
        database.run(
            f"INSERT INTO {table} SELECT {ORDERS - UNPAID} + seq, 1 + seq % 50, 'unpaid',"
            f" '{first}' + INTERVAL ({LEAD_MS - DELAY_MS} + seq * {step}) * 1000 MICROSECOND, NULL"
            f" FROM seq_1_to_{UNPAID}",
            f"CREATE TRIGGER {table}_witness AFTER UPDATE ON {table} FOR EACH ROW"
            f" INSERT INTO {table}_seen VALUES (NEW.id, OLD.status, NEW.status, SYSDATE(6))",
            f"ANALYZE TABLE {table}",
        )
    database.run(
        "SET GLOBAL userstat = 1",
        "GRANT SELECT, UPDATE ON shop.* TO duly",
        f"CREATE USER cron IDENTIFIED BY '{PASSWORD}'",
        "GRANT SELECT, UPDATE ON shop.* TO cron",
    )


CONFIG = """
[journal]
segment_size = "4MiB"

[databases.shop]
dsn = "{dsn}"

[watches.shop-orders]
database = "shop"
table = "orders"
key = "id"
created = "created_at"
delay = "30m"
open = "status = 'unpaid'"
outcome = "status"
time_zone = "UTC"
mode = "act"
start = "all"
max_per_minute = 100000

[watches.shop-orders.action.sql]
steps = [
  "UPDATE orders SET status='cancelled', cancelled_by=:delivery_id WHERE id=:key AND status='unpaid'",
  "UPDATE products SET stock=stock+1 WHERE id=(SELECT product FROM orders WHERE id=:key)",
]
applied = "SELECT 1 FROM orders WHERE id=:key AND cancelled_by=:delivery_id"
"""


def connect(database, user):
    """A connection whose work is counted under this name."""
    return pymysql.connect(
        host="127.0.0.1", port=database.port, user=user, password=PASSWORD, database=NAME,
        autocommit=True, init_command="SET time_zone = '+00:00'",
    )


class Poller(threading.Thread):
    """What runs in many shops: once a second, whatever is unpaid and old is cancelled."""

    def __init__(self, database):
        super().__init__(daemon=True)
        self.connection = connect(database, "cron")
        self.over = threading.Event()

    def run(self):
        cursor = self.connection.cursor()
        while not self.over.wait(1.0):
            cursor.execute(
                "SELECT id, product FROM polled WHERE status = 'unpaid'"
                " AND created_at <= UTC_TIMESTAMP(3) - INTERVAL 30 MINUTE"
            )
            for order, product in cursor.fetchall():
                cursor.execute("UPDATE polled SET status = 'cancelled' WHERE id = %s", (order,))
                cursor.execute("UPDATE polled_products SET stock = stock + 1 WHERE id = %s", (product,))


class Payers:
    """Customers who pay in the last moment: guarded, as a payment handler should be."""

    def __init__(self, database, dues):
        self.dice = random.Random(42)
        chosen = self.dice.sample(sorted(dues), PAID)
        when = lambda due: due - (0 if self.dice.random() < 0.1 else self.dice.uniform(0, 1.0))
        plan = sorted((when(dues[order]), order) for order in chosen)
        self.won = {table: set() for table in TABLES}
        self.threads = [
            threading.Thread(target=self.pay, args=(connect(database, "root_payer"), plan[n::PAYERS]))
            for n in range(PAYERS)
        ]

    def pay(self, connection, plan):
        """Pays each order of the plan at its time, in both tables."""
        cursor = connection.cursor()
        for at, order in plan:
            time.sleep(max(0.0, at - time.time()))
            for table in TABLES:
                changed = cursor.execute(
                    f"UPDATE {table} SET status = 'paid' WHERE id = %s AND status = 'unpaid'", (order,)
                )
                if changed == 1:
                    self.won[table].add(order)


def statistics(database, user):
    """Questions and rows read of a user so far."""
    rows = database.rows(
        "SELECT SELECT_COMMANDS + UPDATE_COMMANDS + OTHER_COMMANDS, ROWS_READ"
        f" FROM information_schema.USER_STATISTICS WHERE USER = '{user}'"
    )
    return tuple(int(value) for value in rows[0]) if rows else (0, 0)


def judged(suite, database, table, dues, won, promised):
    """What the witness says of one table; checked where it was promised. The lateness, sorted."""
    seen = database.rows(f"SELECT id, old, new, UNIX_TIMESTAMP(at) FROM {table}_seen")
    cancelled, both = {}, 0
    for order, old, new, at in seen:
        if new == "cancelled":
            both += old == "paid"
            cancelled.setdefault(order, []).append(float(at))
    late = sorted(times[0] - dues[order] for order, times in cancelled.items())
    twice = sum(len(times) > 1 for times in cancelled.values())
    early = sum(lateness < 0 for lateness in late)
    if promised:
        for order in dues:
            times = cancelled.get(order, [])
            suite.check(len(times) == (order not in won), f"order {order} was cancelled {len(times)} times")
        suite.equal((twice, early, both), (0, 0, 0), "cancelled twice, early, although paid")
        stock = database.one("SELECT SUM(stock) FROM products")
        suite.equal(int(stock), len(cancelled), "stock came back once for each")
    return late, both


def reached(late, share):
    """What so many of them were not later than, in seconds."""
    return late[min(len(late) - 1, int(len(late) * share))]


def shown(name, late, both, questions, rows, seconds):
    """One line of the comparison."""
    print(
        f"{name}: {len(late)} cancelled, late p50 {1000 * reached(late, 0.5):.0f} ms,"
        f" p99 {1000 * reached(late, 0.99):.0f} ms, worst"
        f" {1000 * late[-1]:.0f} ms; {both} cancelled although paid; {questions / seconds:.1f} questions and"
        f" {rows / seconds:.0f} rows read a second", flush=True,
    )


def main():
    with Suite("million", floor=UNPAID) as suite:
        database = Mariadb(options=["--innodb-flush-log-at-trx-commit=2", "--skip-log-bin", "--default-time-zone=+00:00"])
        suite.to_stop.append(database)
        database.make()
        stage(database)
        database.run(
            f"CREATE USER root_payer IDENTIFIED BY '{PASSWORD}'",
            "GRANT SELECT, UPDATE ON shop.* TO root_payer",
        )
        dues = {
            order: float(at) + DELAY_MS / 1000
            for order, at in database.rows(
                "SELECT id, UNIX_TIMESTAMP(created_at) FROM orders WHERE status = 'unpaid'"
            )
        }
        suite.equal(len(dues), UNPAID, "unpaid orders")
        server = suite.server(config=CONFIG.format(dsn=database.dsn()))
        with server.client() as client:
            # An order of this very moment shows that the table's times are those of the clock.
            database.run(
                "INSERT INTO orders VALUES (0, 1, 'unpaid', UTC_TIMESTAMP(3), NULL)",
            )
            pending = lambda: client.get("/v1/queues/shop-orders").json["queue"]["now"]["pending"]
            until(lambda: pending() == UNPAID + 1, "every unpaid order has its deadline")
            database.run("DELETE FROM orders WHERE id = 0")
            suite.check(time.time() < min(dues.values()), "that was in time")
            poller, payers = Poller(database), Payers(database, dues)
            before = {user: statistics(database, user) for user in ("duly", "cron")}
            began = time.time()
            poller.start()
            for thread in payers.threads:
                thread.start()
            for thread in payers.threads:
                thread.join()
            open_rows = "SELECT count(*) FROM {} WHERE status = 'unpaid'"
            for table in TABLES:
                until(lambda: database.one(open_rows.format(table)) == 0, f"{table} is settled", 120)
            seconds = time.time() - began
            after = {user: statistics(database, user) for user in ("duly", "cron")}
            poller.over.set()
            poller.join()
            lateness = {}
            for name, table, user in (("Duly", "orders", "duly"), ("cron", "polled", "cron")):
                late, both = judged(suite, database, table, dues, payers.won[table], user == "duly")
                work = [now - then for now, then in zip(after[user], before[user])]
                shown(name, late, both, *work, seconds)
                lateness[name] = late
            halves = [reached(lateness[name], 0.5) for name in ("Duly", "cron")]
            suite.check(halves[0] < halves[1], f"half are late by {halves[0]:.3f} s, the poller's by {halves[1]:.3f} s")
            still = statistics(database, "duly")
            time.sleep(QUIET)
            asked = statistics(database, "duly")[0] - still[0]
            print(f"Duly while nothing is due: {asked / QUIET:.1f} questions a second", flush=True)
            suite.check(asked <= 2 * QUIET, f"{asked} questions in {QUIET} s while nothing was due")


if __name__ == "__main__":
    main()
