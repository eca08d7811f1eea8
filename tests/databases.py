#!/usr/bin/env python3
"""Guarded statements in the shop's own MariaDB and PostgreSQL, through everything that goes wrong.

Both servers are real and private. Each is asked the same: orders are cancelled once and stock comes
back once, whoever is killed, whatever answer is lost, whoever holds a lock; a database that is away,
read-only, full of connections or under change is waited for; what cannot be done dies with the
database's words; hostile values stay values; and the way there is encrypted for the right authority
only.
"""

import json
import os
import re
import urllib.parse

from blackbox import Suite, now_ms, rfc3339, until
from peers.authority import authority, signed
from peers.database import NAME, PASSWORD, USER, Mariadb, Postgres, Proxy, Session

CANCEL = (
    "UPDATE orders SET status = 'cancelled', cancelled_by = :delivery_id"
    " WHERE id = :key AND status = 'unpaid'"
)
RESTOCK = "UPDATE stock SET available = available + :payload.n WHERE sku = :payload.sku"
APPLIED = "SELECT 1 FROM orders WHERE id = :key AND cancelled_by = :delivery_id"
SLOW = "SELECT 1 FROM orders WHERE id = :key AND {pause} >= 0"
NOTE = "INSERT INTO notes (id, note, whole) VALUES (:key, :payload.note, :payload)"

KILLS = 25
"""How often Duly is killed between the commit and its answer, for each database."""

PAGE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "docs", "deliveries.md")

HOSTILE = [
    "'; DROP TABLE orders; --",
    "' OR '1'='1",
    "1; DELETE FROM orders",
    "\\' OR 1=1 --",
    "\\",
    "\\\\'",
    "x\\",
    "?1",
    "$1",
    ":key",
    "%s%n",
    "\" OR \"\"=\"",
    "`; DROP TABLE stock; #",
    "$$; DROP TABLE stock; $$",
    "x' UNION SELECT * FROM stock --",
    "E'\\''",
    "/*",
    "*/ --",
    "#",
    "\u202ex",
    "𝕏'😀",
    "ß" * 250,
    "a\u00a0b",
    "0x27",
]
"""Texts that have meant something to some database when they were pasted into a statement."""


def main():
    with Suite("databases", floor=5000) as suite:
        for kind in (Mariadb, Postgres):
            database = kind()
            suite.to_stop.append(database)
            database.make()
            shop = Shop(suite, database)
            shop.furnish()
            for part in (
                statements_at_the_start, guard_and_steps, a_guard_that_changes_nothing,
                several_lines, a_deadlock, tables_under_change, permission, out_of_turn, read_only,
                out_of_connections, kept_connections, the_answer_lost, killed_before_the_answer,
                killed_in_the_middle, hostile_values, keys_of_numbers, slow, away_at_the_start,
                encryption,
            ):
                print(f"{kind.scheme}: {part.__name__}", flush=True)
                part(shop)


class Shop:
    """A database with orders and stock in it, and Duly in front."""

    def __init__(self, suite, database):
        self.suite, self.database = suite, database
        self.number, self.servers = 0, 0

    def furnish(self):
        """Tables, and what Duly's user may do with them."""
        database = self.database
        database.run(
            "CREATE TABLE orders (id BIGINT PRIMARY KEY, status VARCHAR(20) NOT NULL,"
            " cancelled_by VARCHAR(64))",
            "CREATE TABLE stock (sku VARCHAR(40) PRIMARY KEY, available INT NOT NULL,"
            " CHECK (available < 1000000))",
            f"CREATE TABLE notes (id VARCHAR(512) PRIMARY KEY, note {database.text},"
            f" whole {database.text})",
            f"GRANT SELECT, UPDATE ON orders TO {USER}",
            f"GRANT SELECT, UPDATE ON stock TO {USER}",
            f"GRANT SELECT, INSERT ON notes TO {USER}",
            "INSERT INTO stock VALUES ('mug', 0), ('full', 999999)",
        )

    def config(self, dsn=None, steps=(CANCEL, RESTOCK), applied=APPLIED, more=""):
        """A configuration; JSON's strings are TOML's, too."""
        slow = SLOW.format(pause=self.database.pause.format(":payload.seconds"))
        return f"""
[journal]
segment_size = "1MiB"
keep = "64MiB"
[databases.shop]
dsn = {json.dumps(dsn or self.database.dsn())}
{more}
[sql.cancel]
database = "shop"
steps = {json.dumps(list(steps))}
applied = {json.dumps(applied)}
[sql.note]
database = "shop"
steps = {json.dumps([NOTE])}
[sql.slow]
database = "shop"
steps = {json.dumps([slow, CANCEL])}
[queues.orders]
default_delay = "30m"
retry = ["1s"]
target = {{ sql = "cancel" }}
[queues.notes]
retry = ["1s"]
target = {{ sql = "note" }}
[queues.slow]
retry = ["1s"]
target = {{ sql = "slow" }}
"""

    def duly(self, wait=True, **how):
        """A server of its own over a new directory."""
        self.servers += 1
        data = f"{self.database.scheme}-{self.servers}"
        return self.suite.server(data, self.config(**how), wait=wait)

    def orders(self, count, status="unpaid"):
        """New orders; their numbers."""
        first = self.number + 1
        self.number += count
        numbers = list(range(first, first + count))
        values = ", ".join(f"({number}, '{status}')" for number in numbers)
        self.database.run(f"INSERT INTO orders (id, status) VALUES {values}")
        return numbers

    def lapse(self, client, key, queue="orders", due=None, payload=None):
        """Schedules a deadline for this instant, or for now."""
        path = urllib.parse.quote(str(key), safe="")
        payload = {"sku": "mug", "n": 1} if payload is None else payload
        when = {"after": "0s"} if due is None else {"due": rfc3339(due)}
        reply = client.schedule(queue, path, payload=payload, **when)
        self.suite.equal(reply.status, 201, f"schedule {queue}/{key}: {reply!r}")

    def delivery(self, client, key, queue="orders"):
        """The delivery as it is now."""
        record = client.read(queue, urllib.parse.quote(str(key), safe=""))
        return record.get("delivery") or {"state": "none", "attempts": 0, "last_error": None}

    def ended(self, client, key, queue="orders"):
        """The delivery at its end."""

        def there():
            delivery = self.delivery(client, key, queue)
            return delivery if delivery["state"] in ("done", "superseded", "dead") else None

        return until(there, f"{queue}/{key} has ended")

    def failed(self, client, key, words, queue="orders"):
        """Waits until an attempt has failed, and checks why and that it will be tried again."""
        delivery = until(
            lambda: (lambda it: it if it["last_error"] else None)(self.delivery(client, key, queue)),
            f"an attempt at {queue}/{key} has failed",
        )
        error = delivery["last_error"]
        self.suite.check(words in error.lower(), f"{queue}/{key} failed with {error!r}, not {words!r}")
        self.suite.check(delivery["state"] != "dead", f"{queue}/{key} will be tried again")
        self.suite.check(
            USER not in error and PASSWORD not in error and "127.0.0.1" not in error,
            f"who and where stays out of {error!r}",
        )

    def expect(self, client, key, state, queue="orders"):
        """Waits for the end, and checks which."""
        delivery = self.ended(client, key, queue)
        self.suite.equal(delivery["state"], state, f"{queue}/{key}: {delivery['last_error']}")
        return delivery

    def order(self, key):
        """Status and who cancelled it."""
        return self.database.rows(f"SELECT status, cancelled_by FROM orders WHERE id = {key}")[0]

    def cancelled(self, delivery, key):
        """Checks that the row was cancelled by this very delivery."""
        self.suite.equal(self.order(key), ["cancelled", delivery["id"]], f"the row of {key}")

    def stock(self, sku="mug"):
        """What is on the shelf."""
        return self.database.one(f"SELECT available FROM stock WHERE sku = '{sku}'")


def soon(seconds):
    """One instant for many lapses, so that they share attempts."""
    return now_ms() + seconds * 1000


def statements_at_the_start(shop):
    """A statement that does not fit is refused with its place in the configuration."""
    for how, words in [
        ({"steps": [CANCEL, "UPDATE stock SET n = 1"]}, "sql.cancel.steps[1]"),
        ({"steps": [CANCEL, "UPDATE shelf SET available = 1"]}, "shelf"),
        ({"steps": ["UPDATE orders SET WHERE id = :key"]}, "sql.cancel.steps[0]"),
        ({"applied": "SELECT nobody FROM orders"}, "sql.cancel.applied"),
        ({"applied": "DELETE FROM orders WHERE id = :key"}, "sql.cancel.applied"),
    ]:
        server = shop.duly(wait=False, **how)
        shop.suite.check(server.process.wait(60) != 0, f"{how} is refused")
        shop.suite.check(words in server.said(), f"{words} is named: {server.said()[-500:]}")
        shop.suite.check(PASSWORD not in server.said(), "the password is not shown")


def guard_and_steps(shop):
    """Unpaid: cancelled and restocked. Paid: superseded. Many at once: each its own end."""
    before = shop.stock()
    unpaid, paid = shop.orders(150), shop.orders(50, "paid")
    server = shop.duly()
    with server.client() as client:
        due = soon(2)
        for number in unpaid + paid:
            shop.lapse(client, number, due=due)
        for number in unpaid:
            shop.cancelled(shop.expect(client, number, "done"), number)
        for number in paid:
            shop.expect(client, number, "superseded")
            shop.suite.equal(shop.order(number), ["paid", None], f"the row of {number}")
        shop.suite.equal(shop.stock() - before, len(unpaid), "stock came back once each")
        # One that cannot be done hinders no other of its batch.
        numbers, due = shop.orders(20), soon(1)
        for number in numbers:
            sku = "full" if number == numbers[7] else "mug"
            shop.lapse(client, number, due=due, payload={"sku": sku, "n": 1})
        for number in numbers:
            if number == numbers[7]:
                dead = shop.expect(client, number, "dead")
                error = dead["last_error"]
                shop.suite.check(error.startswith("sql.cancel.steps[1]: "), f"{error}")
                shop.suite.equal(shop.order(number), ["unpaid", None], "its guard was undone")
            else:
                shop.expect(client, number, "done")
        # A missing field is NULL, which the column does not take; a text is no number.
        for payload in ({"sku": "mug"}, {"sku": "mug", "n": "many"}):
            (number,) = shop.orders(1)
            shop.lapse(client, number, payload=payload)
            shop.expect(client, number, "dead")
            shop.suite.equal(shop.order(number), ["unpaid", None], "its guard was undone")
        shop.suite.equal(shop.stock() - before, len(unpaid) + 19, "stock is exact")
    server.stop()
    said = server.said()
    shop.suite.check(PASSWORD not in said and USER + ":" not in said, "the log keeps the secret")


def a_guard_that_changes_nothing(shop):
    """A guard that sets what is set already has met its row all the same."""
    (unpaid,), (paid,) = shop.orders(1), shop.orders(1, "paid")
    guard = "UPDATE orders SET status = 'unpaid' WHERE id = :key AND status = 'unpaid'"
    server = shop.duly(steps=[guard, CANCEL])
    with server.client() as client:
        for number in (unpaid, paid):
            shop.lapse(client, number)
        shop.cancelled(shop.expect(client, unpaid, "done"), unpaid)
        shop.expect(client, paid, "superseded")
    server.stop()


def several_lines(shop):
    """An order of several lines gives each its own back, with the statement from the documents."""
    with open(PAGE, encoding="utf-8") as page:
        examples = re.findall(r"```sql\n(UPDATE stock .*?)\n```", page.read(), re.DOTALL)
    shop.suite.equal(len(examples), 3, "docs/deliveries.md shows it for three kinds of database")
    (step,) = [text for text in examples if shop.database.lines in text]
    (number,) = shop.orders(1)
    shop.database.run("INSERT INTO stock VALUES ('cup', 5), ('pot', 7)")
    server = shop.duly(steps=[CANCEL, step])
    with server.client() as client:
        lines = [{"sku": "cup", "quantity": 2}, {"sku": "pot", "quantity": 30}]
        before = shop.stock()
        shop.lapse(client, number, payload={"lines": lines})
        shop.cancelled(shop.expect(client, number, "done"), number)
        found = [shop.stock("cup"), shop.stock("pot"), shop.stock()]
        shop.suite.equal(found, [7, 37, before], "what each line gave back")
    shop.database.run("DELETE FROM stock WHERE sku IN ('cup', 'pot')")
    server.stop()


def a_deadlock(shop):
    """Somebody holds the stock and wants the order; Duly holds the order and wants the stock."""
    before = shop.stock()
    (number,) = shop.orders(1)
    filler = shop.orders(50)
    server = shop.duly()
    with server.client() as client, Session(shop.database) as other:
        for setting in shop.database.locks_rarely:
            other.run(setting)
        other.run("BEGIN")
        # A transaction that has changed much is not the one that is given up.
        other.run(f"UPDATE orders SET cancelled_by = 'x' WHERE id >= {filler[0]}")
        other.run("UPDATE stock SET available = available + 0 WHERE sku = 'mug'")
        shop.lapse(client, number)
        until(lambda: shop.database.one(shop.database.waiting) > 0, "Duly waits for the stock")
        other.run(f"UPDATE orders SET cancelled_by = 'y' WHERE id = {number}")
        shop.failed(client, number, "eadlock")
        other.run("COMMIT")
        delivery = shop.expect(client, number, "done")
        shop.suite.check(delivery["attempts"] > 1, "it took another attempt")
        shop.cancelled(delivery, number)
    shop.suite.equal(shop.stock() - before, 1, "stock came back once")
    server.stop()


def tables_under_change(shop):
    """A table that is away for a moment is waited for."""
    (number,) = shop.orders(1)
    server = shop.duly()
    with server.client() as client:
        shop.database.run("ALTER TABLE stock RENAME TO stock_old")
        shop.lapse(client, number)
        shop.failed(client, number, "sql.cancel.steps[1]: ")
        shop.database.run("ALTER TABLE stock_old RENAME TO stock")
        shop.cancelled(shop.expect(client, number, "done"), number)
        # A column more changes nothing for those who do not name it.
        (number,) = shop.orders(1)
        shop.database.run("ALTER TABLE orders ADD COLUMN remark VARCHAR(10)")
        shop.lapse(client, number)
        shop.cancelled(shop.expect(client, number, "done"), number)
    shop.database.run("ALTER TABLE orders DROP COLUMN remark")
    server.stop()


def permission(shop):
    """What is not permitted is dead with the database's words, and done when revived."""
    paid, unpaid = shop.orders(1, "paid")[0], shop.orders(1)[0]
    server = shop.duly()
    with server.client() as client:
        shop.database.run(f"REVOKE UPDATE ON stock FROM {USER}")
        due = soon(1)
        shop.lapse(client, unpaid, due=due)
        shop.lapse(client, paid, due=due)
        error = shop.expect(client, unpaid, "dead")["last_error"]
        shop.suite.check("denied" in error and "stock" in error, f"the words: {error}")
        shop.suite.check(USER not in error and "localhost" not in error, f"nobody named: {error}")
        shop.expect(client, paid, "superseded")
        shop.suite.equal(shop.order(unpaid), ["unpaid", None], "its guard was undone")
        shop.database.run(f"GRANT UPDATE ON stock TO {USER}")
        reply = client.act("orders", unpaid, "revive")
        shop.suite.equal(reply.status, 200, f"revive: {reply!r}")
        shop.cancelled(shop.expect(client, unpaid, "done"), unpaid)
    server.stop()


def out_of_turn(shop):
    """A row that somebody keeps locked hinders only its own lapse."""
    numbers = shop.orders(10)
    before = shop.stock()
    server = shop.duly()
    with server.client() as client, Session(shop.database) as other:
        other.run("BEGIN")
        other.run(f"UPDATE orders SET cancelled_by = 'z' WHERE id = {numbers[4]}")
        due = soon(1)
        for number in numbers:
            shop.lapse(client, number, due=due)
        for number in numbers[:4] + numbers[5:]:
            delivery = shop.expect(client, number, "done")
            shop.suite.equal(delivery["attempts"], 1, f"{number} was not hindered")
            shop.cancelled(delivery, number)
        shop.failed(client, numbers[4], "sql.cancel.steps[0]: ")
        other.run("ROLLBACK")
        shop.cancelled(shop.expect(client, numbers[4], "done"), numbers[4])
    shop.suite.equal(shop.stock() - before, 10, "stock came back once each")
    server.stop()


def read_only(shop):
    """A read-only database is waited for."""
    server = shop.duly()
    (number,) = shop.orders(1)
    with server.client() as client:
        shop.database.read_only(True)
        shop.lapse(client, number)
        shop.failed(client, number, "database: shop: ")
        shop.database.read_only(False)
        delivery = shop.expect(client, number, "done")
        shop.suite.check(delivery["attempts"] > 1, "it took another attempt")
        shop.cancelled(delivery, number)
    server.stop()


def out_of_connections(shop):
    """A database that takes no connection is waited for."""
    server = shop.duly()
    (number,) = shop.orders(1)
    with server.client() as client:
        shop.database.no_connections(True)
        shop.lapse(client, number)
        shop.failed(client, number, "database: shop: ")
        shop.database.no_connections(False)
        shop.cancelled(shop.expect(client, number, "done"), number)
    server.stop()


def kept_connections(shop):
    """A connection that was kept and lost meanwhile costs no attempt; there are few of them."""
    server = shop.duly()
    with server.client() as client:
        for round in range(3):
            (number,) = shop.orders(1)
            shop.lapse(client, number)
            delivery = shop.expect(client, number, "done")
            shop.suite.equal(delivery["attempts"], 1, "the first attempt was enough")
            shop.suite.check(shop.database.connections() >= 1, "the connection is kept")
            if round == 0:
                shop.database.disconnect()
            if round == 1:
                shop.database.kill()
                shop.database.start()
        most = 0
        numbers, due = shop.orders(600), soon(5)
        for number in numbers:
            shop.lapse(client, number, due=due)
        while shop.delivery(client, numbers[-1])["state"] != "done":
            most = max(most, shop.database.connections())
        shop.suite.check(most <= 4, f"{most} connections at once")
        for number in numbers:
            shop.expect(client, number, "done")
    server.stop()


def the_answer_lost(shop):
    """The line is cut at the commit: before the database hears it, and after."""
    proxy = Proxy(shop.database.port)
    shop.suite.to_stop.append(proxy)
    server = shop.duly(dsn=shop.database.dsn(port=proxy.port))
    with server.client() as client:
        for is_heard in (True, False, True):
            before, (number,), cuts = shop.stock(), shop.orders(1), proxy.cuts
            paid = shop.orders(1, "paid")[0]
            proxy.cut_at(shop.database.commit, is_heard)
            shop.lapse(client, number)
            delivery = shop.expect(client, number, "done")
            shop.suite.equal(proxy.cuts, cuts + 1, "the line was cut")
            shop.suite.equal(delivery["attempts"], 2, "the second attempt found out")
            shop.suite.check("database: shop: " in delivery["last_error"], f"{delivery}")
            shop.cancelled(delivery, number)
            shop.suite.equal(shop.stock() - before, 1, "stock came back once")
            shop.lapse(client, paid)
            shop.expect(client, paid, "superseded")
        # A whole batch whose answer is lost is done, too, and none of it superseded.
        before, numbers, due = shop.stock(), shop.orders(30), soon(2)
        for number in numbers:
            shop.lapse(client, number, due=due)
        proxy.cut_at(shop.database.commit, True)
        attempts = 0
        for number in numbers:
            delivery = shop.expect(client, number, "done")
            shop.cancelled(delivery, number)
            attempts += delivery["attempts"]
        shop.suite.check(attempts > 50, f"most shared the lost transaction: {attempts} attempts")
        shop.suite.equal(shop.stock() - before, 30, "stock came back once each")
    server.stop()


def killed_before_the_answer(shop):
    """Duly is killed when the database has committed and before it could hear of it."""
    proxy = Proxy(shop.database.port)
    shop.suite.to_stop.append(proxy)
    server = shop.duly(dsn=shop.database.dsn(port=proxy.port))
    for _ in range(KILLS):
        before, (number,), cuts = shop.stock(), shop.orders(1), proxy.cuts
        proxy.free.clear()
        proxy.cut_at(shop.database.commit, True)
        with server.client() as client:
            shop.lapse(client, number)
        until(lambda: proxy.cuts > cuts, "the database has committed")
        shop.suite.equal(shop.order(number)[0], "cancelled", "it has acted")
        server.kill()
        proxy.free.set()
        server.start()
        with server.client() as client:
            delivery = shop.expect(client, number, "done")
            shop.suite.equal(delivery["attempts"], 2, "the second attempt found out")
            shop.cancelled(delivery, number)
        shop.suite.equal(shop.stock() - before, 1, "stock came back once")
    server.stop()


def killed_in_the_middle(shop):
    """The database is killed while it works, then Duly is: all is done once."""
    for round in range(4):
        before, numbers = shop.stock(), shop.orders(120)
        paid = numbers[::10]
        unpaid = [number for number in numbers if number not in paid]
        held = ", ".join(str(number) for number in paid)
        shop.database.run(f"UPDATE orders SET status = 'paid' WHERE id IN ({held})")
        server = shop.duly()
        with server.client() as client:
            due = soon(3)
            for number in numbers:
                shop.lapse(client, number, due=due)
            if round == 0:
                # Its transaction stands between the guard and the stock when the blow comes.
                with Session(shop.database) as other:
                    other.run("BEGIN")
                    other.run("UPDATE stock SET available = available + 0 WHERE sku = 'mug'")
                    waiting = shop.database.waiting
                    until(lambda: shop.database.one(waiting) > 0, "Duly waits for the stock")
                    shop.database.kill()
            else:
                done = f"SELECT count(*) FROM orders WHERE id >= {numbers[0]} AND status = 'cancelled'"
                until(lambda: shop.database.one(done) > 0, "the first are cancelled")
                if round == 3:
                    server.kill()
                else:
                    shop.database.kill()
            if round == 3:
                server.start()
            else:
                shop.database.start()
        with server.client() as client:
            for number in unpaid:
                shop.cancelled(shop.expect(client, number, "done"), number)
            for number in paid:
                shop.expect(client, number, "superseded")
                shop.suite.equal(shop.order(number), ["paid", None], f"the row of {number}")
        shop.suite.equal(shop.stock() - before, len(unpaid), "stock came back once each")
        server.stop()


def hostile_values(shop):
    """They arrive byte for byte and change nothing else."""
    counts = "SELECT (SELECT count(*) FROM orders), (SELECT sum(available) FROM stock)"
    before = shop.database.rows(counts)
    server = shop.duly()
    with server.client() as client:
        texts = HOSTILE + ["long " + "x'\\" * 4_000]
        for text in texts:
            key = text if len(text.encode()) <= 500 else "a long one"
            whole = {"note": text, "other": [text, {"deep": text}]}
            shop.lapse(client, key, "notes", payload=whole)
        for text in texts:
            key = text if len(text.encode()) <= 500 else "a long one"
            shop.expect(client, key, "done", "notes")
            found = shop.database.rows("SELECT note, whole FROM notes WHERE id = %s", key)
            shop.suite.equal(len(found), 1, f"one row for {key!r}")
            shop.suite.equal(found[0][0], text, f"the note of {key!r}")
            shop.suite.equal(json.loads(found[0][1])["other"], [text, {"deep": text}], "its whole")
        # NUL is a character to one of them, and nothing that a text may hold to the other.
        refused = shop.database.nul_is_refused
        shop.lapse(client, "nul", "notes", payload={"note": "a\0b'"})
        error = shop.expect(client, "nul", "dead" if refused else "done", "notes")["last_error"]
        shop.suite.check((refused or "") in (error or ""), f"the words: {error}")
        found = shop.database.rows("SELECT note FROM notes WHERE id = 'nul'")
        shop.suite.equal(found, [] if refused else [["a\0b'"]], "the note with NUL in it")
    shop.suite.equal(shop.database.rows(counts), before, "nothing else was changed")
    shop.suite.equal(shop.database.one("SELECT count(*) FROM notes") >= len(HOSTILE), True, "notes")
    server.stop()


def keys_of_numbers(shop):
    """A key meets the order of exactly that number: not one that begins with it or is close."""
    close = 9_007_199_254_740_992
    shop.database.run(
        f"INSERT INTO orders (id, status) VALUES ({close}, 'unpaid'), ({close + 1}, 'unpaid'),"
        " (4242001, 'unpaid'), (0, 'unpaid')"
    )
    server = shop.duly()
    with server.client() as client:
        shop.lapse(client, close + 1)
        shop.cancelled(shop.expect(client, close + 1, "done"), close + 1)
        shop.suite.equal(shop.order(close), ["unpaid", None], "its neighbour")
        for key in ("4242001abc", "abc", "4242001 OR 1=1", "' OR 1=1 --"):
            shop.lapse(client, key)
            state = shop.ended(client, key)["state"]
            shop.suite.check(state in ("dead", "superseded"), f"{key!r} is {state}")
        shop.suite.equal(shop.order(4242001), ["unpaid", None], "the one it begins with")
        shop.suite.equal(shop.order(0), ["unpaid", None], "the one of no number")
    server.stop()


def slow(shop):
    """A statement without end is stopped and hinders no other of its batch."""
    numbers = shop.orders(3)
    server = shop.duly()
    with server.client() as client:
        due = soon(1)
        for number in numbers:
            seconds = 60 if number == numbers[1] else 0
            shop.lapse(client, number, "slow", due, {"seconds": seconds})
        shop.cancelled(shop.expect(client, numbers[0], "done", "slow"), numbers[0])
        shop.failed(client, numbers[1], "timeout: ", "slow")
        shop.cancelled(shop.expect(client, numbers[2], "done", "slow"), numbers[2])
    server.stop()


def away_at_the_start(shop):
    """A database that cannot be reached is no error at the start."""
    (number,) = shop.orders(1)
    shop.database.kill()
    server = shop.duly()
    with server.client() as client:
        shop.lapse(client, number)
        shop.failed(client, number, "database: shop: no connection: connection refused")
        shop.database.start()
        shop.cancelled(shop.expect(client, number, "done"), number)
    server.stop()
    # Through the socket, and with a wrong password.
    (number,) = shop.orders(1)
    server = shop.duly(dsn=shop.database.dsn(options=f"?socket={shop.database.socket}"))
    with server.client() as client:
        shop.lapse(client, number)
        shop.cancelled(shop.expect(client, number, "done"), number)
    server.stop()
    server = shop.duly(dsn=f"{shop.database.scheme}://{USER}:wrong@127.0.0.1:{shop.database.port}/{NAME}")
    with server.client() as client:
        shop.lapse(client, number)
        shop.failed(client, number, "database: shop: it refuses the login")
    server.stop()


def encryption(shop):
    """The way is encrypted for the right authority and the right name, or not taken."""
    suite, database = shop.suite, shop.database
    folder = suite.path(f"{database.scheme}-tls")
    os.mkdir(folder)
    ours = authority(folder, "ours")
    theirs = authority(folder, "theirs")
    plain = shop.duly(dsn=database.dsn(options="?tls=required"))
    with plain.client() as client:
        (number,) = shop.orders(1)
        shop.lapse(client, number)
        shop.failed(client, number, "tls")
    plain.stop()
    plain = shop.duly(dsn=database.dsn(options="?tls=preferred"))
    with plain.client() as client:
        (number,) = shop.orders(1)
        shop.lapse(client, number)
        shop.cancelled(shop.expect(client, number, "done"), number)
    plain.stop()
    database.insist()
    for name, host, is_good in [
        ("127.0.0.1", "IP:127.0.0.1", True), ("elsewhere", "DNS:elsewhere.example", False)
    ]:
        certificate, key = signed(folder, name, host, "ours")
        database.kill()
        encrypt(database, certificate, key)
        database.start()
        (number,) = shop.orders(1)
        server = shop.duly(dsn=database.dsn(options="?tls=off"))
        with server.client() as client:
            shop.lapse(client, number)
            shop.failed(client, number, "it refuses the login")
        server.stop()
        unusable = "tls: its ca_file cannot be used"
        for ca_file, words in [
            (ours, None), (theirs, "unknownissuer"), (None, "unknownissuer"),
            (f"{folder}/ours.key", unusable), (f"{folder}/nothing.pem", unusable),
        ]:
            if not is_good and ca_file == ours:
                words = "its certificate is for another name"
            more = f"ca_file = {json.dumps(ca_file)}" if ca_file else ""
            for wish in ("required", "preferred"):
                (number,) = shop.orders(1)
                server = shop.duly(dsn=database.dsn(options=f"?tls={wish}"), more=more)
                with server.client() as client:
                    shop.lapse(client, number)
                    if words:
                        shop.failed(client, number, words)
                        suite.equal(shop.order(number), ["unpaid", None], "nothing was done")
                    else:
                        shop.cancelled(shop.expect(client, number, "done"), number)
                server.stop()


def encrypt(database, certificate, key):
    """Gives the server its certificate, from its next start on."""
    files = {"certificate": database.give("server.pem", certificate), "key": database.give("server.key", key)}
    database.options = [option.format(**files) for option in database.encrypted]


if __name__ == "__main__":
    main()
