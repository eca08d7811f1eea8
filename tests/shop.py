#!/usr/bin/env python3
"""The example shop, started by its own `run`: every order is paid or cancelled, whatever is killed.

For each way of `WAYS`: a real browser places orders, pays one, leaves one to a slow bank and is
closed; another keeps a page open. Then come 200 orders, half of which are paid in their last second,
some of them just when it ends. Duly is killed with SIGKILL twice, MariaDB once, php-fpm again and
again until a webhook has failed. At the end the books are gone through: each order is paid or
cancelled, none is both, none was early, the stock is right to the piece, and money that came too late
was given back once. Where keys expire (M4), what `DEL` said must be what Duly's books say, and an order
must be cancelled whether or not anybody heard the event.
"""

import collections
import json
import os
import random
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time

from blackbox import Client, Suite, free_port, instant, in_parallel, now_ms, until
from peers.resp import Resp

HERE = os.path.dirname(os.path.abspath(__file__))
RUN = os.path.join(os.path.dirname(HERE), "examples", "shop-php", "run")

Way = collections.namedtuple("Way", "name act ends outcome")
"""A way; who acts: `webhook`, `exec` or `sql`; whether the provider's payment session is ended too;
and what a payment settles with."""

WAYS = [
    Way("m3", "webhook", ends=True, outcome="paid"),
    Way("m3", "exec", ends=True, outcome="paid"),
    Way("m2", "sql", ends=False, outcome="paid"),
    Way("m1", "webhook", ends=True, outcome="paid"),
    Way("m4", "webhook", ends=True, outcome="deleted"),
]

AFTER = 40
"""How long an order may stay unpaid, in seconds: enough for a browser on a busy machine."""
ORDERS = 200
STRAGGLERS = 5
STOCK = 1000
FLOOR = 1200
"""What one way checks at least."""


def main():
    with Suite("shop", floor=FLOOR * len(WAYS)) as suite:
        # Root's shop gives the database and PHP users of their own.
        os.chmod(suite.directory, 0o711)
        suite.pictures = os.path.join(tempfile.gettempdir(), "duly-shop-screenshots")
        os.makedirs(suite.pictures, exist_ok=True)
        refusals(suite)
        for way in WAYS:
            began = suite.work
            print(f"── {way.name} by {way.act}", flush=True)
            through(suite, way)
            suite.check(suite.work - began >= FLOOR, f"{way}: only {suite.work - began} checks")
        print(f"screenshots: {suite.pictures}")


class Shop:
    """One running shop."""

    def __init__(self, suite, way):
        self.suite, self.way = suite, way
        self.data = suite.path(f"{way.name}-{way.act}")
        self.port = free_port()
        self.log = f"{self.data}.log"
        self.cut_short = set()
        line = [RUN, "--way", way.name, "--after", f"{AFTER}s", "--duly", suite.binary]
        line += ["--port", str(self.port), "--data", self.data]
        line += [] if way.act == "sql" else ["--act", way.act]
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                line, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        until(self.is_open, f"the shop is open: {line}")
        said = self.said().split("Duly ", 1)[1]
        self.duly_port = int(said.split("127.0.0.1:", 1)[1].split("/", 1)[0])
        if way.name == "m4":
            self.redis_port = int(said.split("Redis commands", 1)[1].split("127.0.0.1:", 1)[1].split()[0])

    def said(self):
        """What `run` has written so far."""
        with open(self.log, encoding="utf-8") as log:
            return log.read()

    def is_open(self):
        """Whether `run` says so."""
        if self.process.poll() is not None:
            raise AssertionError(f"run ended with {self.process.returncode}:\n{self.said()}")
        return "Ctrl-C ends it all" in self.said()

    @property
    def url(self):
        """Where the browser goes."""
        return f"http://127.0.0.1:{self.port}"

    def sql(self, statement):
        """Rows of the shop's database, as lists of text; NULL is None."""
        user = subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout
        said = subprocess.run(
            ["mariadb", "--no-defaults", f"--socket={self.data}/db/socket",
             f"--user={user.strip()}", "--batch", "--skip-column-names", "shop",
             "--execute", statement],
            capture_output=True, text=True, timeout=60, check=True,
        ).stdout
        return [
            [None if value == "NULL" else value for value in line.split("\t")]
            for line in said.splitlines()
        ]

    def pid(self, name):
        """The process id of one of its servers, as it is now."""
        with open(f"{self.data}/{name}.pid", encoding="ascii") as file:
            return int(file.read() or 0)

    def kill(self, name, how=signal.SIGKILL):
        """Kills one of its servers and waits until `run` has started another."""
        before = self.pid(name)
        os.kill(before, how)
        until(lambda: self.pid(name) not in (0, before), f"{name} is started again")

    def duly(self):
        """A client of its Duly."""
        return Client("127.0.0.1", self.duly_port)

    def status(self, order):
        """How an order stands."""
        return self.sql(f"SELECT status FROM orders WHERE id = {order}")[0][0]

    def heard(self):
        """M4: orders whose key's expiry was heard, and how often."""
        return collections.Counter(self.logged("expired", r"^orders:(\d+) has expired$"))

    def told_too_late(self):
        """M4: orders whose `DEL` said 0."""
        return set(self.logged("php-fpm", r"order (\d+): its key had expired when it was paid"))

    def logged(self, name, pattern):
        """The numbers that one of its logs has by a pattern."""
        with open(f"{self.data}/log/{name}.log", encoding="utf-8", errors="replace") as log:
            return [int(found) for found in re.findall(pattern, log.read(), re.MULTILINE)]

    def post(self, client, path, form=""):
        """Sends a form, as a browser would; None if nobody answered."""
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        try:
            return client.ask("POST", path, form.encode(), headers)
        except OSError:
            return None

    def stop(self, how=signal.SIGTERM):
        """Ends it; gives its exit status."""
        if self.process.poll() is None:
            os.kill(self.process.pid, how)
        return self.process.wait(60)

    def leftovers(self):
        """Processes that still work in its directory."""
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/cmdline", "rb") as file:
                    line = file.read().decode(errors="replace")
            except OSError:
                continue
            if self.data in line:
                found.append(line.replace("\0", " "))
        return found


class Aside(threading.Thread):
    """Work beside the main thread; `join` raises what went wrong in it."""

    def __init__(self, work, *args):
        super().__init__(daemon=True)
        self.work, self.args, self.error = work, args, None
        self.start()

    def run(self):
        try:
            self.work(*self.args)
        except BaseException as error:
            self.error = error

    def join(self, timeout=None):
        super().join(timeout)
        if self.error:
            raise self.error


def refusals(suite):
    """What `run` does not do it says in a sentence."""
    for args, words in [
        (["--way", "m5"], "m1, m2, m3 or m4"),
        (["--act", "magic"], "webhook or exec"),
        (["--after", "soon"], "30s, 5m or 1h"),
        (["--duly", "/nowhere/duly"], "there is no /nowhere/duly"),
        (["--wat"], "what is --wat"),
    ]:
        said = subprocess.run([RUN, *args], capture_output=True, text=True, timeout=30, check=False)
        suite.equal(said.returncode, 1, f"run {args}")
        suite.check(words in said.stderr and said.stderr.count("\n") == 1, f"{args}: {said.stderr}")


def through(suite, way):
    """One way from opening to closing."""
    shop = Shop(suite, way)
    suite.to_stop.append(shop)
    shop.sql(f"UPDATE products SET stock = {STOCK}")
    if way.name == "m4":
        hints(suite, shop)
    orders = customer(suite, shop, "visit")["orders"]
    stays = Aside(customer, suite, shop, "stay")
    payers = rush(suite, shop)
    stays.join()
    until(lambda: is_over(shop), "no order is unpaid, and Duly waits for nothing", patience=200)
    customer(suite, shop, "return", json.dumps({**orders, "ends": way.ends}))
    records = books(suite, shop, payers, str(orders["paid"]))
    if way.name == "m4":
        answers(suite, shop, records)
    forged(suite, shop)
    suite.equal(shop.stop(signal.SIGINT), 0, f"{way}: Ctrl-C")
    suite.equal(shop.leftovers(), [], f"{way}: nothing goes on")


def customer(suite, shop, *part):
    """A browser; gives what it says beside what it looked at."""
    names = ["chromium", "chromium-browser", "google-chrome"]
    chromium = next(filter(None, map(shutil.which, names)), None)
    assert chromium, "there is a browser"
    folder = os.path.join(suite.pictures, f"{shop.way.name}-{shop.way.act}")
    os.makedirs(folder, exist_ok=True)
    said = subprocess.run(
        ["node", os.path.join(HERE, "node", "shop.mjs"), chromium, shop.url, folder, *part],
        capture_output=True, text=True, timeout=240, check=False,
    )
    print(said.stderr, end="")
    suite.equal(said.returncode, 0, f"the browser's script: {said.stdout[-500:]}")
    told = {}
    for line in said.stdout.splitlines():
        found = json.loads(line)
        if "what" in found:
            suite.check(found["good"], f"{part[0]}: {found['what']}: {found.get('seen', '')}")
        else:
            told.update(found)
    return told


def hints(suite, shop):
    """M4: an expired key is heard by who listens; the order is cancelled also when nobody does."""
    redis = Resp(shop.redis_port)
    with Client("127.0.0.1", shop.port) as client:

        def place():
            reply = shop.post(client, "/orders", "product=teapot&quantity=1")
            order = int(reply.headers["location"].rsplit("/", 1)[1])
            left = redis.call("TTL", f"orders:{order}")
            suite.check(0 < left <= AFTER, f"order {order} expires in {left} s")
            return order

        def expire():
            order = place()
            suite.equal(redis.call("EXPIRE", f"orders:{order}", "0"), 1, f"order {order} expires")
            shop.cut_short.add(order)
            until(lambda: shop.status(order) == "cancelled", f"order {order} is cancelled")
            return order

        # Whoever listens needs a moment to begin.
        heard = until(lambda: (order := expire()) in shop.heard() and order, "an event is heard")
        # `run` sleeps, so that nobody starts the listener again.
        os.kill(shop.process.pid, signal.SIGSTOP)
        listener = shop.pid("expired")
        os.kill(listener, signal.SIGKILL)
        until(lambda: is_gone(listener), "nobody listens")
        unheard = expire()
        os.kill(shop.process.pid, signal.SIGCONT)
        until(lambda: shop.pid("expired") not in (0, listener), "somebody listens again")
        until(lambda: expire() in shop.heard(), "an event is heard again")
        suite.check(unheard not in shop.heard(), f"nobody ever hears of order {unheard}")
        suite.equal(shop.heard()[heard], 1, f"order {heard} was heard of once")

        # Paid after the key has expired, and before the cancellation: DEL says 0, the row decides.
        order = place()
        with shop.duly() as duly:
            suite.equal(duly.ask("POST", "/v1/queues/orders/pause", {}).status, 200, "deliveries wait")
            suite.equal(redis.call("EXPIRE", f"orders:{order}", "0"), 1, f"order {order} expires")
            shop.cut_short.add(order)
            session = shop.post(client, f"/orders/{order}/pay").headers["location"]
            suite.equal(shop.post(client, session, "do=pay").status, 303, f"order {order} is paid")
            until(lambda: order in shop.told_too_late(), "DEL has said 0")
            suite.equal(duly.ask("POST", "/v1/queues/orders/resume", {}).status, 200, "and go on")
        suite.equal(shop.status(order), "paid", f"order {order}, paid before it was cancelled")
    redis.close()


def answers(suite, shop, records):
    """M4: what `DEL` said is what Duly's books say, and what was heard had lapsed."""
    late, heard = shop.told_too_late(), shop.heard()
    for key, record in records.items():
        order = int(key)
        if record["state"] == "settled":
            suite.check(order not in late, f"order {order} was settled: DEL said 1")
            suite.check(order not in heard, f"order {order} was settled: no key expired")
        suite.check(heard[order] <= 1, f"order {order} was heard of once")
    lapsed = {int(key) for key, record in records.items() if record["state"] == "lapsed"}
    suite.check(late <= lapsed, f"DEL says 0 of what has lapsed: {late - lapsed}")
    suite.check(set(heard) <= lapsed, f"what is heard of has lapsed: {set(heard) - lapsed}")
    print(f"  DEL said 0 {len(late)} times; {len(heard)} of {len(lapsed)} lapses were heard")


def is_gone(pid):
    """Whether a process has ended, also if nobody has asked how."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            return file.read().rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return True


def rush(suite, shop):
    """Many orders at once, half of them paid at the last moment, and servers that die. Gives who
    was to pay."""
    dice = random.Random(20261122)
    placed, lock = [], threading.Lock()

    def place(count):
        with Client("127.0.0.1", shop.port) as client:
            for _ in range(count):
                reply = until(
                    lambda: (said := shop.post(client, "/orders", "product=teapot&quantity=1"))
                    and said.status == 303 and said, "an order is placed")
                with lock:
                    placed.append(int(reply.headers["location"].rsplit("/", 1)[1]))

    def kill():
        until(lambda: len(placed) > ORDERS // 4, "orders are placed")
        shop.kill("duly")

    # Duly is killed while orders are being placed: the checkout waits for it.
    killer = Aside(kill)
    in_parallel(8, lambda _: place(ORDERS // 8))
    killer.join()
    rushed = list(placed)
    payers = dice.sample(rushed, ORDERS // 2)
    sessions = {}
    with Client("127.0.0.1", shop.port) as client:
        for order in payers:
            reply = shop.post(client, f"/orders/{order}/pay")
            sessions[order] = reply.headers["location"]
            suite.check(sessions[order].startswith("/provider/"), f"order {order} can be paid")
    stragglers = Aside(place, STRAGGLERS)
    dues = {int(order): instant(due.replace(" ", "T") + "Z")
            for order, due in shop.sql("SELECT id, pay_before FROM orders")}
    # A fifth of them when the time ends, to some hundredths of a second; the others up to a second
    # before.
    plan = sorted(
        (dues[order] - (dice.randint(-50, 50) if number % 5 == 0 else dice.randint(0, 1000)), order)
        for number, order in enumerate(payers)
    )
    suite.check(plan[0][0] > now_ms(), "the payments are yet to come")
    answered = {}

    def pay(_):
        with Client("127.0.0.1", shop.port) as client:
            while True:
                with lock:
                    if not plan:
                        return
                    at, order = plan.pop(0)
                time.sleep(max(0, at - now_ms()) / 1000)
                # The provider tells the shop again until it has heard; so does this customer.
                reply = until(
                    lambda: (said := shop.post(client, sessions[order], "do=pay"))
                    and said.status in (200, 303) and said, f"order {order} is paid or too late")
                answered[order] = (reply.status, now_ms())

    deaths = Aside(die, suite, shop, sorted(dues[order] for order in rushed)[ORDERS // 2])
    in_parallel(16, pay)
    deaths.join()
    stragglers.join()
    for order, (status, at) in answered.items():
        if status == 303 and at < dues[order]:
            found = shop.sql(f"SELECT status FROM orders WHERE id = {order}")
            early = dues[order] - at
            suite.equal(found, [["paid"]], f"order {order}, paid {early} ms before its end")
    suite.equal(len(answered), ORDERS // 2, "every payer has an answer")
    return payers


def die(suite, shop, middle_due):
    """Duly and MariaDB die when half of the orders have been due, php-fpm while the last are being
    cancelled."""
    time.sleep(max(0, middle_due - now_ms()) / 1000)
    shop.kill("duly")
    shop.kill("db")
    until(lambda: ready(shop), "Duly is ready again")
    until(lambda: has_database(shop), "MariaDB is ready again")
    last = "SELECT COUNT(*) FROM orders WHERE status = 'unpaid'"
    until(lambda: int(shop.sql(last)[0][0]) <= STRAGGLERS + ORDERS // 4, "most orders are over")
    if shop.way.act == "webhook":
        until(lambda: has_failed(suite, shop), "a webhook has failed")
    else:
        shop.kill("php", signal.SIGTERM)


def ready(shop):
    """Whether Duly answers."""
    try:
        with shop.duly() as client:
            return client.get("/readyz").status == 200
    except OSError:
        return False


def has_database(shop):
    """Whether MariaDB answers."""
    try:
        return shop.sql("SELECT 1") == [["1"]]
    except subprocess.CalledProcessError:
        return False


def has_failed(suite, shop):
    """Ends php-fpm once more; has a webhook met that?"""
    shop.kill("php", signal.SIGTERM)
    with shop.duly() as client:
        waiting = client.get("/v1/queues/orders/deadlines?state=lapsed&delivery=ready&limit=1000")
        failed = [found for found in waiting["deadlines"] if found["delivery"]["attempts"] > 0]
    for found in failed:
        suite.check(found["delivery"]["last_error"], f"order {found['key']} is tried again")
    return failed


def books(suite, shop, payers, paid_early):
    """Goes through every order, every payment and every deadline."""
    fields = ["id", "quantity", "status", "closed_at < pay_before", "payment", "cancelled_by"]
    orders = [dict(zip(fields, row)) for row in shop.sql(f"SELECT {', '.join(fields)} FROM orders")]
    sessions = {row[0]: row[1:] for row in shop.sql(
        "SELECT order_id, CONCAT('pay_', id), state, told, refunds FROM provider_sessions")}
    refunds = collections.Counter(order for order, in shop.sql("SELECT order_id FROM refunds"))
    records = {}
    with shop.duly() as client:
        cursor = ""
        while cursor is not None:
            page = client.get(f"/v1/queues/orders/deadlines?limit=500{cursor}")
            records.update((found["key"], found) for found in page["deadlines"])
            cursor = page["next_cursor"] and f"&cursor={page['next_cursor']}"
    counted = collections.Counter()
    sold = 0
    for order in orders:
        name = f"order {order['id']}"
        counted[order["status"]] += 1
        payment, state, told, refunded = sessions.get(order["id"], (None, "none", "1", "0"))
        if state == "paid":
            suite.equal(told, "1", f"{name}: the shop was told")
        record = records.get(order["id"], {"state": "none"})
        stands = (record["state"], record.get("delivery", {}).get("state") or record.get("outcome"))
        if order["status"] == "paid":
            sold += int(order["quantity"])
            suite.equal((order["payment"], state), (payment, "paid"), f"{name} is paid")
            suite.equal(order["cancelled_by"], None, f"{name} is not cancelled too")
            suite.equal((refunds[order["id"]], refunded), (0, "0"), f"{name}: nothing given back")
            settled = ("settled", shop.way.outcome)
            suite.check(stands in [settled, ("lapsed", "superseded")], f"{name}: {stands}")
            counted["settled"] += stands[0] == "settled"
            if order["id"] == paid_early:
                suite.equal(stands, settled, f"{name}, paid with much time left")
        else:
            suite.equal(order["status"], "cancelled", f"{name} is over")
            suite.equal(order["payment"], None, f"{name} is not paid too")
            if int(order["id"]) not in shop.cut_short:
                suite.equal(order["closed_at < pay_before"], "0", f"{name} is not early")
            given = 1 if state == "paid" else 0
            suite.equal((refunds[order["id"]], int(refunded)), (given, given), f"{name}: given back")
            suite.equal(stands, ("lapsed", "done"), f"{name}: the deadline")
            by = record.get("delivery", {}).get("id")
            suite.equal(order["cancelled_by"], by, f"{name} was cancelled by its delivery")
    stock = int(shop.sql("SELECT stock FROM products WHERE id = 'teapot'")[0][0])
    suite.equal(stock + sold, STOCK, "stock and sold together")
    suite.check(counted["paid"] > len(payers) // 2, f"most who paid in time made it: {counted}")
    # A watch looks again shortly before the end, and is told of nothing that comes after that.
    if shop.way.act != "sql":
        suite.check(counted["settled"] > len(payers) // 5, f"payments settle: {counted}")
    suite.check(counted["cancelled"] > ORDERS // 2, f"who did not pay was cancelled: {counted}")
    print(f"  {dict(counted)}, {sum(refunds.values())} given back, stock {stock}")
    return records


def is_over(shop):
    """Whether nothing more will happen to any order."""
    with shop.duly() as client:
        held = client.get("/v1/queues/orders")["queue"]["now"]
    waits = held["pending"] + held["ready"] + held["leased"] > 0
    return not waits and shop.sql("SELECT 1 FROM orders WHERE status = 'unpaid'") == []


def forged(suite, shop):
    """Nobody else can say that money has come or that time is up."""
    with Client("127.0.0.1", shop.port) as client:
        before = shop.sql("SELECT status, COUNT(*) FROM orders GROUP BY status")
        for path in ["/paid", "/lapsed"]:
            body = {"order": 1, "payment": "x", "type": "deadline.lapsed", "data": {"key": "1"}}
            suite.equal(client.ask("POST", path, body).status, 401, f"{path} without a signature")
        suite.equal(shop.sql("SELECT status, COUNT(*) FROM orders GROUP BY status"), before, "nothing happened")
        for path in ["/index.php", "/shop/index.php", "/..%2fshop/start.php", "/secrets", "/w/../v1/stats"]:
            suite.check(client.get(path).status in (400, 404), f"{path} is not served")


if __name__ == "__main__":
    main()
