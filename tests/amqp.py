#!/usr/bin/env python3
"""The `publish` target against a real RabbitMQ that is killed in mid-stream, and blocked, and refuses.

The suite starts a node of its own, and reads its queues with pika and with the PHP of
docs/deliveries.md. What counts: a delivery is done only when its message is in a queue, every lapse
arrives at least once with its delivery id, and whatever is wrong with the way there is said in words and
tried again.
"""

import json
import os
import pwd
import re
import signal
import subprocess
import urllib.parse

import pika
import pika.exceptions

from blackbox import Suite, free_port, instant, now_ms, rfc3339, until
from publish import certificates, delivery_of, done

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PROGRAMS = "/usr/lib/rabbitmq/bin"
USER, PASSWORD = "shop-user", "p@ss/word: with %"
QUOTED = "p%40ss%2Fword%3A%20with%20%25"
HOSTILE = [
    "42", "a b", "'; DROP TABLE orders; --", "\u00fc\u4e2d\U0001f600", "..%2f", "\"", "\\",
    "lapses", "amq.default", "k" * 512, "$(id)", "--x", "a\xe2\u20ac", ":key", "#", "*.*",
]
STREAMED, KILLS = 300, 2
RESTARTED, RESTARTS = 100, 5


def main():
    with Suite("amqp", floor=1_900) as suite:
        rabbit = Rabbit(suite)
        server = suite.server(config=configuration(rabbit))
        with server.client() as client:
            for name in publishers(rabbit):
                target = {"publish": {"to": name}}
                reply = client.queue(name, target=target, retry=["1s"], concurrency=64)
                suite.equal(reply["queue"]["policy"]["target"], target, f"the target {name}")
            arrives(suite, client, rabbit)
            complaints(suite, client, rabbit)
            blocked(suite, client, rabbit)
        one_connection(suite, rabbit)
        duly_killed(suite, server, rabbit)
        with server.client() as client:
            by_php(suite, client, rabbit)
            killed(suite, client, rabbit)
        goodbye(suite, server, rabbit)


def publishers(rabbit):
    """All publishers: the URL's user and end, and where in the broker."""
    here = f"amqp://{USER}:{QUOTED}@127.0.0.1:{rabbit.port}"
    there = f"amqps://{USER}:{QUOTED}@localhost:{rabbit.tls_port}"
    return {
        "queue": {"url": f"{here}/shop%2F1", "queue": "lapses"},
        "topic": {"url": here, "exchange": "orders", "routing_key": "order.lapsed"},
        "secure": {"url": there, "queue": "secure", "ca_file": rabbit.authority},
        "other": {"url": there, "queue": "secure"},
        "unbound": {"url": here, "exchange": "orders", "routing_key": "nobody"},
        "gone": {"url": here, "queue": "not-there"},
        "missing": {"url": here, "exchange": "not-there"},
        "full": {"url": here, "queue": "full"},
        "wrong": {"url": here.replace(QUOTED, "wrong"), "queue": "secure"},
        "guest": {"url": f"amqp://127.0.0.1:{rabbit.port}", "queue": "secure"},
        "nowhere": {"url": f"{here}/nowhere", "queue": "secure"},
        "barred": {"url": f"{here}/barred", "queue": "secure"},
        "forbidden": {"url": here, "exchange": "private"},
        "stream": {"url": here, "queue": "stream"},
        "restart": {"url": here, "queue": "restart"},
        "php": {"url": here, "queue": "php"},
    }


def configuration(rabbit):
    """All publishers, and small segments."""
    lines = ["[journal]", 'segment_size = "1MiB"']
    for name, values in publishers(rabbit).items():
        lines += [f"[publish.{name}]", *(f"{key} = {json.dumps(value)}" for key, value in values.items())]
    return "\n".join(lines) + "\n"


class Rabbit:
    """A private RabbitMQ node with an epmd of its own, as its own user where we are root."""

    def __init__(self, suite):
        self.folder = suite.path("rabbit")
        self.log = suite.path("rabbit.log")
        self.port, self.tls_port = free_port(), free_port()
        self.authority, key, certificate = certificates(suite)
        os.makedirs(f"{self.folder}/home")
        with open(f"{self.folder}/definitions.json", "w", encoding="utf-8") as out:
            json.dump(definitions(), out)
        with open(f"{self.folder}/rabbitmq.conf", "w", encoding="utf-8") as out:
            out.write("\n".join([
                f"listeners.tcp.1 = 127.0.0.1:{self.port}",
                f"listeners.ssl.1 = 127.0.0.1:{self.tls_port}",
                f"ssl_options.cacertfile = {self.authority}",
                f"ssl_options.certfile = {certificate}",
                f"ssl_options.keyfile = {self.folder}/broker.key",
                "ssl_options.verify = verify_none",
                f"load_definitions = {self.folder}/definitions.json",
                "disk_free_limit.absolute = 1MB",
                "frame_max = 8192",  # so that a message is several frames
                "heartbeat = 6",
                "log.file = false",
                "log.console = true",
            ]) + "\n")
        for name, content in (("plugins", "[]."), ("env.conf", "")):
            with open(f"{self.folder}/{name}", "w", encoding="utf-8") as out:
                out.write(content)
        os.rename(key, f"{self.folder}/broker.key")
        self.as_whom = {}
        if os.getuid() == 0:
            user = pwd.getpwnam("rabbitmq")
            self.as_whom = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
            os.chmod(suite.directory, 0o755)
            for folder, _, files in os.walk(self.folder):
                for path in (folder, *(f"{folder}/{name}" for name in files)):
                    os.chown(path, user.pw_uid, user.pw_gid)
        distribution, names = free_port(), free_port()
        self.environment = {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "HOME": f"{self.folder}/home",
            "RABBITMQ_NODENAME": "duly-suite@localhost",
            "RABBITMQ_MNESIA_BASE": f"{self.folder}/db", "RABBITMQ_LOG_BASE": f"{self.folder}/log",
            "RABBITMQ_CONFIG_FILE": f"{self.folder}/rabbitmq.conf",
            "RABBITMQ_CONF_ENV_FILE": f"{self.folder}/env.conf",
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{self.folder}/plugins",
            "RABBITMQ_DIST_PORT": str(distribution),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1} +S 2:2 +sbwt none",
            "ERL_EPMD_PORT": str(names), "ERL_EPMD_ADDRESS": "127.0.0.1",
            # Then the script becomes the node, so that its id is the node's, and nothing outlives it.
            "RUNNING_UNDER_SYSTEMD": "true",
        }
        self.process = None
        self.epmd = self.run("epmd", "-port", str(names), "-address", "127.0.0.1")
        suite.to_stop.append(self)
        self.start()

    def run(self, *words):
        """A program beside the node, as the node's user."""
        with open(self.log, "ab") as log:
            return subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder,
                                    env=self.environment, **self.as_whom)

    def start(self):
        self.process = self.run(f"{PROGRAMS}/rabbitmq-server")
        until(self.is_there, "RabbitMQ answers", patience=180)

    def is_there(self):
        assert self.process.poll() is None, f"RabbitMQ ended; see {self.log}"
        try:
            with self.channel():
                return True
        except (OSError, pika.exceptions.AMQPError):
            return False

    def control(self, *words):
        """Asks the node's own tool."""
        asked = self.run(f"{PROGRAMS}/rabbitmqctl", *words)
        assert asked.wait(120) == 0, f"rabbitmqctl {words}; see {self.log}"

    def channel(self, vhost="/"):
        """A channel of the administrator, to be used with `with`."""
        return Channel(self.port, vhost)

    def taken(self, queue, vhost="/"):
        """Takes all that is in a queue: (properties, event) each."""
        found = []
        with self.channel(vhost) as channel:
            while True:
                method, properties, body = channel.basic_get(queue, auto_ack=True)
                if method is None:
                    return found
                found.append((properties, json.loads(body)))

    def said(self):
        with open(self.log, encoding="utf-8", errors="replace") as log:
            return log.read()

    def kill(self):
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def stop(self):
        for process in (self.process, self.epmd):
            if process is not None and process.poll() is None:
                os.kill(process.pid, signal.SIGKILL)
                process.wait()


class Channel:
    """A connection with one channel."""

    def __init__(self, port, vhost):
        login = pika.PlainCredentials("admin", "admin")
        self.connection = pika.BlockingConnection(
            pika.ConnectionParameters("127.0.0.1", port, vhost, login, heartbeat=0, socket_timeout=30))

    def __enter__(self):
        return self.connection.channel()

    def __exit__(self, *_):
        self.connection.close()


def definitions():
    """What is in the broker from the beginning."""
    permission = {"configure": "^$", "write": "^(?!private$).*$", "read": ".*"}
    queue = lambda name, vhost="/", **arguments: {
        "name": name, "vhost": vhost, "durable": True, "auto_delete": False, "arguments": arguments}
    exchange = lambda name: {
        "name": name, "vhost": "/", "type": "topic", "durable": True, "auto_delete": False, "internal": False,
        "arguments": {}}
    return {
        "users": [
            {"name": "admin", "password": "admin", "tags": "administrator"},
            {"name": USER, "password": PASSWORD, "tags": ""},
        ],
        "vhosts": [{"name": name} for name in ("/", "shop/1", "barred")],
        "permissions": [
            *({"user": "admin", "vhost": vhost, "configure": ".*", "write": ".*", "read": ".*"}
              for vhost in ("/", "shop/1", "barred")),
            *({"user": USER, "vhost": vhost, **permission} for vhost in ("/", "shop/1")),
        ],
        "exchanges": [exchange("orders"), exchange("private")],
        "queues": [
            queue("lapses", "shop/1"), queue("bound"), queue("secure"), queue("stream"), queue("restart"), queue("php"),
            queue("full", **{"x-max-length": 1, "x-overflow": "reject-publish"}),
        ],
        "bindings": [
            {"source": "orders", "vhost": "/", "destination": "bound", "destination_type": "queue",
             "routing_key": "order.*", "arguments": {}},
        ],
    }


def quoted(key):
    return urllib.parse.quote(key, safe="")


def arrives(suite, client, rabbit):
    """A queue, a topic, a queue behind TLS: each lapse once, as it was scheduled."""
    payload = {"total": "19.90", "text": "a\r\n\xce\x00b \U0001f600 \0", "long": "\xe4\u4e2d" * 4_000}
    for queue, (name, vhost) in {
        "queue": ("lapses", "shop/1"), "topic": ("bound", "/"), "secure": ("secure", "/"),
    }.items():
        wanted = {}
        for key in HOSTILE:
            reply = client.schedule(queue, quoted(key), after="0s", payload=payload)
            suite.equal(reply.status, 201, f"schedule {queue}/{key!r}")
        for key in HOSTILE:
            delivery = done(client, queue, quoted(key))
            wanted[delivery["id"]] = (key, delivery["attempts"])
        found = rabbit.taken(name, vhost)
        suite.equal(len(found), len(HOSTILE), f"each once by {queue}")
        for properties, event in found:
            data = event["data"]
            given = properties.message_id
            suite.equal((given, data["key"]), (data["delivery_id"], wanted.get(given, [None])[0]), "its id and key")
            suite.equal((data["queue"], data["payload"]), (queue, payload), "its queue and payload")
            suite.equal(properties.headers, {"queue": queue, "key": data["key"], "attempt": data["attempt"]},
                        "its headers")
            suite.equal(
                (properties.delivery_mode, properties.content_type, properties.type, properties.app_id),
                (2, "application/json", "deadline.lapsed", "duly"), "its properties")
            suite.equal(properties.timestamp, instant(data["lapsed_at"]) // 1000, "its time")


def complaints(suite, client, rabbit):
    """What is wrong is said, and tried again; put right, it arrives."""
    client.schedule("full", "first", after="0s")
    done(client, "full", "first")
    said = {
        "unbound": "unroutable: no queue takes it (NO_ROUTE)",
        "gone": "unroutable: no queue takes it (NO_ROUTE)",
        "missing": "NOT_FOUND - no exchange 'not-there' in vhost '/'",
        "full": "refused: ",
        "wrong": "ACCESS_REFUSED - Login was refused",
        "guest": "ACCESS_REFUSED - Login was refused",
        "nowhere": "NOT_ALLOWED - vhost nowhere not found",
        "barred": "NOT_ALLOWED - access to vhost 'barred' refused for its user",
        "forbidden": "ACCESS_REFUSED - access to exchange 'private' in vhost '/' refused for its user",
        "other": "tls: ",
    }
    for queue in said:
        client.schedule(queue, "c", after="0s")
    for queue, words in said.items():
        error = until(lambda: delivery_of(client, queue, "c").get("last_error"), f"{queue} is tried")
        suite.check(error.startswith(f"publish: {queue}: {words}"), f"{queue}: {error}")
        for secret in ("127.0.0.1", str(rabbit.port), USER, PASSWORD):
            suite.check(secret not in error, f"no {secret} in {error}")
        suite.equal(delivery_of(client, queue, "c")["state"] in ("ready", "leased"), True, f"{queue} is tried again")
    with rabbit.channel() as channel:
        channel.queue_declare("found", durable=True)
        channel.queue_bind("found", "orders", "nobody")
        channel.queue_declare("not-there", durable=True)
        channel.exchange_declare("not-there", "fanout", durable=True)
        channel.queue_bind("not-there", "not-there")
    suite.equal(len(rabbit.taken("full")), 1, "a full queue took one")
    for queue in ("unbound", "gone", "missing", "full"):
        wanted = done(client, queue, "c")
        suite.check(wanted["attempts"] > 1, f"{queue} was tried again")
    found = {name: sorted(properties.message_id for properties, _ in rabbit.taken(name))
             for name in ("found", "not-there", "full")}
    ids = {queue: done(client, queue, "c")["id"] for queue in ("unbound", "gone", "missing", "full")}
    suite.equal(found, {"found": [ids["unbound"]], "not-there": sorted([ids["gone"], ids["missing"]]),
                        "full": [ids["full"]]}, "put right, each arrives once")


def blocked(suite, client, rabbit):
    """A broker without memory takes nothing; it is said, and all arrives when it does again."""
    rabbit.control("set_vm_memory_high_watermark", "0")
    client.schedule("topic", "b0", after="0s")
    tried = 0

    def is_said():
        nonlocal tried
        tried += 1
        client.schedule("topic", f"b{tried}", after="0s")
        errors = [delivery_of(client, "topic", f"b{number}").get("last_error") for number in range(tried + 1)]
        return any((error or "").startswith("publish: topic: blocked: ") for error in errors)

    until(is_said, "that the broker blocks is said")
    suite.check(delivery_of(client, "topic", f"b{tried}").get("state") != "done", "nothing is done meanwhile")
    rabbit.control("set_vm_memory_high_watermark", "0.4")
    wanted = {done(client, "topic", f"b{number}")["id"] for number in range(tried + 1)}
    found = [properties.message_id for properties, _ in rabbit.taken("bound")]
    suite.equal(set(found), wanted, "all arrived when it took them again")
    suite.equal(len(found), len(wanted), "each once")


def one_connection(suite, rabbit):
    """All that went to one place went over one connection, which heartbeats have kept."""
    entered = re.findall(rf"user '{USER}' authenticated and granted access to vhost 'shop/1'", rabbit.said())
    suite.equal(len(entered), 1, "connections to shop/1")
    suite.check("missed heartbeats" not in rabbit.said(), "no heartbeat was missed")


def burst(client, queue, names):
    """Schedules deadlines that are due at the same moment, when all of them are there."""
    due = rfc3339(now_ms() + 20 * len(names))
    for name in names:
        assert client.schedule(queue, name, due=due).status == 201, name


def on_its_way(rabbit, queue, before):
    """Returns the moment more than `before` messages are in a queue."""
    with rabbit.channel() as channel:
        there = lambda: channel.queue_declare(queue, passive=True).method.message_count
        until(lambda: there() > before, f"{queue} is on its way")


def duly_killed(suite, server, rabbit):
    """Duly is killed while a hundred are on their way: nothing is lost, what comes twice has the same id."""
    names, before = [], 0
    for turn in range(RESTARTS):
        names += (those := [f"r{turn}-{number}" for number in range(RESTARTED)])
        with server.client() as client:
            burst(client, "restart", those)
            on_its_way(rabbit, "restart", before)
            server.kill()
        server.start()
        with server.client() as client:
            for name in those:
                done(client, "restart", name)
        with rabbit.channel() as channel:
            before = channel.queue_declare("restart", passive=True).method.message_count
    with server.client() as client:
        wanted = {done(client, "restart", name)["id"]: name for name in names}
    arrived_all(suite, rabbit.taken("restart"), wanted, f"after {RESTARTS} kills of Duly")


def killed(suite, client, rabbit):
    """The broker is killed while hundreds are on their way: nothing is lost, nothing is done unseen."""
    wanted, before, again = {}, 0, 0
    for turn in range(KILLS):
        names = [f"m{turn}-{number}" for number in range(STREAMED)]
        burst(client, "stream", names)
        on_its_way(rabbit, "stream", before)
        rabbit.kill()
        client.schedule("stream", f"m{turn}-late", after="0s")
        names.append(f"m{turn}-late")
        error = until(lambda: delivery_of(client, "stream", names[-1]).get("last_error"), "it is away")
        suite.check(error.startswith("publish: stream: "), f"a broker that is away: {error}")
        rabbit.start()
        for name in names:
            delivery = done(client, "stream", name)
            wanted[delivery["id"]] = name
            again += delivery["attempts"] > 1
            suite.equal(delivery["state"], "done", name)
        with rabbit.channel() as channel:
            before = channel.queue_declare("stream", passive=True).method.message_count
    arrived_all(suite, rabbit.taken("stream"), wanted, f"after {KILLS} kills of the broker, {again} of them tried again")


def arrived_all(suite, found, wanted, what):
    """Every delivery is there, twice at most under its own id."""
    keys = {}
    for properties, event in found:
        suite.equal(properties.message_id, event["data"]["delivery_id"], "its id")
        keys[properties.message_id] = event["data"]["key"]
    suite.equal(keys, wanted, f"every lapse arrived {what}")
    print(f"{len(wanted)} published, {len(found) - len(keys)} came twice, {what}")


def by_php(suite, client, rabbit):
    """The worker of docs/deliveries.md takes what arrives, and gives back what it could not do."""
    with open(f"{ROOT}/docs/deliveries.md", encoding="utf-8") as page:
        blocks = re.findall(r"```php\n<\?php\n(.*?)```", page.read(), re.DOTALL)
    worker = [block for block in blocks if "AMQPStreamConnection" in block]
    suite.equal(len(worker), 1, "docs/deliveries.md shows a worker")
    program, acted = suite.path("worker.php"), suite.path("acted")
    text = worker[0].replace("'127.0.0.1', 5672, 'worker', 'secret', 'shop'",
                             f"'127.0.0.1', {rabbit.port}, '{USER}', '{PASSWORD}'")
    with open(program, "w", encoding="utf-8") as out:
        out.write(f"""<?php
require '/usr/share/php/PhpAmqpLib/autoload.php';
function shop() {{ return null; }}
function lapse($shop, array $lapse): string
{{
    static $failed = false;
    if ($lapse['key'] === 'p3' && !$failed) {{
        $failed = true;
        throw new RuntimeException('not this time');
    }}
    file_put_contents('{acted}', $lapse['delivery_id'] . ' ' . $lapse['key'] . "\\n", FILE_APPEND);
    return 'done';
}}
{text.replace("'lapses'", "'php'")}""")
    wanted = set()
    for number in range(10):
        client.schedule("php", f"p{number}", after="0s")
    for number in range(10):
        wanted.add(f"{done(client, 'php', f'p{number}')['id']} p{number}")
    with open(f"{acted}.log", "wb") as log:
        running = subprocess.Popen(["php", program], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        def has_acted():
            assert running.poll() is None, f"the worker ended; see {acted}.log"
            if not os.path.exists(acted):
                return None
            with open(acted, encoding="utf-8") as lines:
                lines = lines.read().splitlines()
            return lines if len(lines) == 10 else None

        suite.equal(set(until(has_acted, "the worker has acted on all")), wanted, "what PHP acted on")
    finally:
        running.kill()
        running.wait()


def goodbye(suite, server, rabbit):
    """A server that stops says goodbye to the broker."""
    with server.client() as client:
        client.schedule("php", "last", after="0s")
        done(client, "php", "last")
    before = len(rabbit.said())
    suite.equal(server.stop(), 0, "it stops in order")
    said = until(lambda: (text := rabbit.said()[before:]) and text.count("closing AMQP connection") and text,
                 "the broker logs the end of a connection")
    suite.check("unexpectedly closed" not in said, f"no goodbye: {said[-400:]}")


if __name__ == "__main__":
    main()
