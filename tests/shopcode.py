#!/usr/bin/env python3
"""A watch that acts through a shop's own code: the commands of the WooCommerce and Magento examples.

The shops themselves are not here. In their place stand a few lines of PHP with the same names, over a
SQLite file: enough to run the examples' files as they are, from the row that appears to the order that
the script has cancelled. What is checked is what the scripts promise whatever the shop does: paid is never
cancelled, a save that fails is tried again, and what a killed attempt has done is found done.
"""

import datetime
import os
import sqlite3

from blackbox import Suite, now_ms, until

EXAMPLES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "examples", "watches")

WORDPRESS = """#!/usr/bin/php
<?php
// `wp --path=… eval-file FILE`: loads the shop, then runs the file in it.
[, $path, $verb, $file] = $argv;
if ($path !== '--path=/srv/wordpress' || $verb !== 'eval-file') {
    exit(64);
}
$shop = new PDO('sqlite:SHOP');
$shop->exec('PRAGMA busy_timeout = 20000');
function wc_get_order(int $id)
{
    global $shop;
    $found = $shop->query("SELECT status FROM wp_wc_orders WHERE id = $id")->fetch();
    return $found ? new Order($id, $found['status']) : false;
}
final class Order
{
    private int $id;
    private string $status;
    private array $meta = [];
    public function __construct(int $id, string $status) { $this->id = $id; $this->status = $status; }
    public function has_status(string $status): bool { return $this->status === "wc-$status"; }
    public function update_meta_data(string $name, string $value): void { $this->meta[$name] = $value; }
    public function get_meta(string $name): string
    {
        global $shop;
        return (string) $shop->query("SELECT value FROM meta WHERE id = {$this->id} AND name = '$name'")->fetchColumn();
    }
    public function update_status(string $status, string $note): bool
    {
        global $shop;
        $isFirst = getenv('DULY_ATTEMPT') === '1';
        if ($this->id === UNSAVED && $isFirst) {
            return false;
        }
        $shop->beginTransaction();
        foreach ($this->meta as $name => $value) {
            $shop->exec("INSERT INTO meta VALUES ({$this->id}, '$name', '$value')");
        }
        $shop->exec("UPDATE wp_wc_orders SET status = 'wc-$status' WHERE id = {$this->id}");
        $shop->exec("INSERT INTO mails VALUES ({$this->id}, '$note')");
        $shop->commit();
        if ($this->id === KILLED && $isFirst) {
            posix_kill(getmypid(), 9);
        }
        return true;
    }
}
if ((int) getenv('DULY_KEY') === PAID_LATE) {
    // Somebody pays while the shop is still loading.
    $shop->exec('UPDATE wp_wc_orders SET status = "wc-processing" WHERE id = ' . PAID_LATE);
}
require $file;
"""

MAGENTO = """<?php
namespace {
    const BP = __DIR__;
    $shop = new PDO('sqlite:SHOP');
    $shop->exec('PRAGMA busy_timeout = 20000');
    function the_shop(): PDO { return $GLOBALS['shop']; }
}
namespace Magento\\Framework\\App {
    final class Area { const AREA_CRONTAB = 'crontab'; }
    final class State { public static string $area = ''; public function setAreaCode(string $area): void { self::$area = $area; } }
    final class Bootstrap
    {
        public static function create(string $root, array $server): self { return new self(); }
        public function getObjectManager(): \\Objects { return new \\Objects(); }
    }
}
namespace Magento\\Framework\\Exception { class NoSuchEntityException extends \\Exception {} }
namespace Magento\\Framework\\ObjectManager {
    final class ConfigLoaderInterface { public function load(string $area): array { return [$area]; } }
}
namespace Magento\\Sales\\Api {
    final class OrderRepositoryInterface
    {
        public function get(int $id): \\Order
        {
            $found = the_shop()->query("SELECT state, status FROM sales_order WHERE entity_id = $id")->fetch();
            if (!$found) {
                throw new \\Magento\\Framework\\Exception\\NoSuchEntityException();
            }
            return new \\Order($id, $found['state'], $found['status']);
        }
        public function save(\\Order $order): void { $order->save(); }
    }
    final class OrderManagementInterface
    {
        public function cancel(int $id): bool
        {
            if (\\Objects::$areas !== ['crontab'] || \\Magento\\Framework\\App\\State::$area !== 'crontab') {
                throw new \\Exception('the area is not loaded');
            }
            $isFirst = getenv('DULY_ATTEMPT') === '1';
            if ($id === UNSAVED && $isFirst) {
                throw new \\Exception('a deadlock');
            }
            $changed = the_shop()->exec("UPDATE sales_order SET state = 'canceled', status = 'canceled'
                WHERE entity_id = $id AND status = 'pending_payment'");
            the_shop()->exec("INSERT INTO mails VALUES ($id, 'canceled')");
            if ($id === KILLED && $isFirst) {
                posix_kill(getmypid(), 9);
            }
            return $changed === 1;
        }
    }
}
namespace {
    final class Objects
    {
        public static array $areas = [];
        public function get(string $name) { return new $name(); }
        public function configure(array $areas): void { self::$areas = $areas; }
    }
    final class Entry
    {
        private string $comment;
        public function __construct(string $comment) { $this->comment = $comment; }
        public function getComment(): string { return $this->comment; }
    }
    final class Order
    {
        private int $id;
        private string $state;
        private string $status;
        private array $new = [];
        public function __construct(int $id, string $state, string $status)
        {
            [$this->id, $this->state, $this->status] = [$id, $state, $status];
        }
        public function getEntityId(): int { return $this->id; }
        public function getState(): string { return $this->state; }
        public function getStatus(): string { return $this->status; }
        public function addCommentToStatusHistory(string $comment): void { $this->new[] = $comment; }
        public function getStatusHistories(): ?array
        {
            $found = the_shop()->query("SELECT comment FROM history WHERE id = {$this->id}")->fetchAll(PDO::FETCH_COLUMN);
            return $found ? array_map(fn ($comment) => new Entry($comment), $found) : null;
        }
        public function save(): void
        {
            foreach ($this->new as $comment) {
                the_shop()->prepare('INSERT INTO history VALUES (?, ?)')->execute([$this->id, $comment]);
            }
        }
    }
    if ((int) getenv('DULY_KEY') === PAID_LATE) {
        $shop->exec("UPDATE sales_order SET state = 'processing', status = 'processing' WHERE entity_id = " . PAID_LATE);
    }
}
"""

UNPAID = range(1, 9)
PAID, PAID_LATE, UNSAVED, KILLED, TOUCHED = 11, 12, 13, 14, 15
"""Orders that are paid in time, while the shop is loading; that cannot be saved at first; whose attempt is
killed when it has cancelled; that somebody touches."""


class Shop:
    """One of the two: its table, its code, and the example's configuration over it."""

    def __init__(self, suite, name):
        self.suite, self.name = suite, name
        self.path = suite.path(f"{name}.db")
        self.connection = sqlite3.connect(self.path, timeout=30, isolation_level=None)
        self.connection.execute("PRAGMA journal_mode = WAL")
        self.connection.execute("CREATE TABLE mails (id INTEGER NOT NULL, note TEXT NOT NULL)")

    def code(self, text):
        """The stand-in for the shop's code, with this shop's file and orders in it."""
        numbers = {"PAID_LATE": PAID_LATE, "UNSAVED": UNSAVED, "KILLED": KILLED}
        defined = "".join(f"const {name} = {number}; " for name, number in numbers.items())
        text = text.replace("sqlite:SHOP", f"sqlite:{self.path}")
        return text.replace("// `wp", f"{defined}// `wp").replace("const BP", f"{defined}const BP")

    def config(self, *changes):
        """The example with its command in place of its webhook, over this shop, in a hurry."""
        with open(os.path.join(EXAMPLES, f"{self.name}.toml"), encoding="utf-8") as file:
            text = file.read()
        watch, webhook = text.split(f"[watches.{self.name}.action.webhook]")
        command = webhook[webhook.index(f"# [watches.{self.name}.action.exec]"):]
        command = "\n".join(line.removeprefix("#").removeprefix(" ") for line in command.splitlines())
        text = f'{watch}{command}\n[queues.{self.name}]\nretry = ["1s"]\n'
        for was, instead in (
            ('mode = "observe"', 'mode = "act"\nreconcile = "1s"'), ('user = "www-data"', ""),
            ('delay = "30m"', 'delay = "4s"'), *changes,
        ):
            self.suite.check(was in text, f"{was} stands in {self.name}.toml")
            text = text.replace(was, instead)
        return text

    def run(self, statement, *values):
        """Runs a statement; its rows."""
        return self.connection.execute(statement, values).fetchall()


def text(ms):
    """An instant as both shops write it."""
    return datetime.datetime.fromtimestamp(ms / 1000, datetime.timezone.utc).strftime("%Y-%m-%d %H:%M:%S")


def woocommerce(suite):
    """Orders that are drafts at first, as long as the checkout is open."""
    shop = Shop(suite, "woocommerce")
    shop.run("CREATE TABLE wp_wc_orders (id INTEGER PRIMARY KEY, type TEXT, status TEXT,"
             " date_created_gmt TEXT, date_updated_gmt TEXT)")
    shop.run("CREATE INDEX type_status_date ON wp_wc_orders (type, status, date_created_gmt)")
    shop.run("CREATE TABLE meta (id INTEGER, name TEXT, value TEXT)")
    program = suite.path("wp")
    with open(program, "w", encoding="utf-8") as file:
        file.write(shop.code(WORDPRESS))
    os.chmod(program, 0o755)
    config = shop.config(
        ("${WORDPRESS_DSN}", f"sqlite://{shop.path}"), ("/usr/local/bin/wp", program),
        ("/srv/duly/woocommerce-cancel.php", os.path.join(EXAMPLES, "woocommerce-cancel.php")),
    )
    began = now_ms() - 3_600_000

    def place(*numbers):
        for number in numbers:
            shop.run("INSERT INTO wp_wc_orders VALUES (?, 'shop_order', 'wc-checkout-draft', ?, ?)",
                     number, text(began), text(began))
            # An hour after the checkout was opened.
            touch(number, "wc-pending")

    def touch(number, status):
        shop.run("UPDATE wp_wc_orders SET status = ?, date_updated_gmt = ? WHERE id = ?",
                 status, text(now_ms()), number)

    acted(suite, shop, config, place, {
        "status": "SELECT status FROM wp_wc_orders WHERE id = ?", "touch": lambda n: touch(n, "wc-pending"),
        "pay": lambda n: touch(n, "wc-processing"), "cancelled": "wc-cancelled", "paid": "wc-processing",
    })


def magento(suite):
    """Orders that are made when they are placed."""
    shop = Shop(suite, "magento")
    shop.run("CREATE TABLE sales_order (entity_id INTEGER PRIMARY KEY, state TEXT, status TEXT, created_at TEXT,"
             " updated_at TEXT, total_paid NUMERIC)")
    shop.run("CREATE INDEX by_status ON sales_order (status, created_at)")
    shop.run("CREATE TABLE history (id INTEGER, comment TEXT)")
    os.makedirs(suite.path("magento/app"))
    with open(suite.path("magento/app/bootstrap.php"), "w", encoding="utf-8") as file:
        file.write(shop.code(MAGENTO))
    config = shop.config(
        ("${MAGENTO_DSN}", f"sqlite://{shop.path}"), ("/srv/magento", suite.path("magento")),
        ("/srv/duly/magento-cancel.php", os.path.join(EXAMPLES, "magento-cancel.php")),
        # A TIMESTAMP carries its zone; the text of SQLite does not.
        ('outcome = "status"', 'outcome = "status"\ntime_zone = "UTC"'),
    )

    def place(*numbers):
        for number in numbers:
            shop.run("INSERT INTO sales_order VALUES (?, 'new', 'pending_payment', ?, ?, NULL)",
                     number, text(now_ms()), text(now_ms()))

    def change(column):
        return lambda value: lambda n: shop.run(f"UPDATE sales_order SET {column} = ? WHERE entity_id = ?", value, n)

    acted(suite, shop, config, place, {
        "status": "SELECT status FROM sales_order WHERE entity_id = ?",
        "touch": lambda n: change("created_at")(text(now_ms()))(n),
        "pay": change("status")("processing"), "cancelled": "canceled", "paid": "processing",
    })


def acted(suite, shop, config, place, words):
    """What either must do."""
    server = suite.server(shop.name, config)
    status = lambda n: shop.run(words["status"], n)[0][0]
    with server.client() as client:
        record = lambda n: client.read(shop.name, n)
        place(*UNPAID, PAID, PAID_LATE, UNSAVED, KILLED, TOUCHED)
        for number in (*UNPAID, PAID, PAID_LATE, UNSAVED, KILLED, TOUCHED):
            until(lambda: record(number), f"{shop.name} {number} has a deadline")
        words["pay"](PAID)
        due, placed = record(TOUCHED)["due"], text(now_ms())
        until(lambda: text(now_ms()) > placed, "the second is over")
        words["touch"](TOUCHED)
        until(lambda: record(TOUCHED)["due"] > due, f"{shop.name}: a touched order is due later")

        def ended(number):
            found = record(number)
            delivery = (found.get("delivery") or {}).get("state")
            return found if found["state"] == "settled" or delivery in ("done", "superseded", "dead") else None

        for number in (*UNPAID, UNSAVED, KILLED, TOUCHED):
            found = until(lambda: ended(number), f"{shop.name} {number} comes to an end")
            suite.equal(found["state"], "lapsed", f"{shop.name} {number}: its state")
            suite.equal(found["delivery"]["state"], "done", f"{shop.name} {number}: {found['delivery']}")
            attempts = 2 if number in (UNSAVED, KILLED) else 1
            suite.equal(found["delivery"]["attempts"], attempts, f"{shop.name} {number}: its attempts")
            suite.equal(status(number), words["cancelled"], f"{shop.name} {number}: the order")
            mails = shop.run("SELECT count(*) FROM mails WHERE id = ?", number)[0][0]
            suite.equal(mails, 1, f"{shop.name} {number}: the customer hears of it once")
        found = until(lambda: ended(PAID), f"{shop.name}: the paid one is settled")
        suite.equal(found.get("outcome"), words["paid"], f"{shop.name}: the paid one")
        found = until(lambda: ended(PAID_LATE), f"{shop.name}: the late one comes to an end")
        suite.equal(found["delivery"]["state"], "superseded", f"{shop.name}: paid while the shop was loading")
        for number in (PAID, PAID_LATE):
            suite.equal(status(number), words["paid"], f"{shop.name} {number} stays paid")
            mails = shop.run("SELECT count(*) FROM mails WHERE id = ?", number)[0][0]
            suite.equal(mails, 0, f"{shop.name} {number}: no mail")
    server.stop()


def main():
    with Suite("shopcode", floor=90) as suite:
        woocommerce(suite)
        magento(suite)


if __name__ == "__main__":
    main()
