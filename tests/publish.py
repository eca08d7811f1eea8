#!/usr/bin/env python3
"""The `publish` target against a real Redis server that is killed in mid-stream.

The suite starts its own servers, one with a password and one that speaks TLS only, and reads what
arrives there over a socket of its own. What counts: a delivery is done only when its message is in
the server, every lapse arrives at least once with its delivery id, and whatever is wrong with the
way there is said in words and tried again.
"""

import json
import os
import signal
import socket
import ssl
import subprocess

from blackbox import Suite, free_port, until

PASSWORD = "p@ss/word: with %"
QUOTED = "p%40ss%2Fword%3A%20with%20%25"
STREAMED = 600


def main():
    with Suite("publish", floor=1_200) as suite:
        plain = Redis(suite, "plain", "--requirepass", PASSWORD, "--appendonly", "yes",
                      "--appendfsync", "always")
        secure = secure_redis(suite)
        server = suite.server(config=configuration(suite, plain, secure))
        with server.client() as client:
            for name in ("stream", "list", "short", "secure", "other", "wrong", "nobody", "stranger"):
                target = {"publish": {"to": name}}
                reply = client.queue(name, target=target, retry=["1s"])
                suite.equal(reply["queue"]["policy"]["target"], target, f"the target {name}")
            arrives(suite, client, plain, secure)
            complaints(suite, client, plain)
            killed(suite, client, plain)
            names_only(suite, client)
        settings(suite)


def configuration(suite, plain, secure):
    """All publishers."""
    here = f"127.0.0.1:{plain.port}"
    publishers = {
        "stream": {"url": f"redis://:{QUOTED}@{here}", "stream": "lapses"},
        "list": {"url": f"redis://default:{QUOTED}@{here}/3", "list": "lapses"},
        "short": {"url": f"redis://:{QUOTED}@{here}", "stream": "short", "maxlen": 10},
        "secure": {"url": f"rediss://localhost:{secure.port}", "list": "lapses", "ca_file": secure.authority},
        "other": {"url": f"rediss://localhost:{secure.port}", "list": "lapses"},
        "wrong": {"url": f"redis://:wrong@{here}", "list": "lapses"},
        "nobody": {"url": f"redis://{here}", "list": "lapses"},
        "stranger": {"url": f"redis://:{QUOTED}@{here}", "stream": "a-text"},
    }
    lines = []
    for name, values in publishers.items():
        lines += [f"[publish.{name}]", *(f"{key} = {json.dumps(value)}" for key, value in values.items())]
    return "\n".join(lines) + "\n"


class Redis:
    """A private Redis server, and questions to it."""

    def __init__(self, suite, name, *options, tls=None):
        self.suite, self.name, self.options, self.tls = suite, name, options, tls
        self.port, self.authority = free_port(), None
        self.folder = suite.path(name)
        os.makedirs(self.folder, exist_ok=True)
        self.process = None
        suite.to_stop.append(self)
        self.start()

    def start(self):
        ports = ["--port", "0", "--tls-port", str(self.port)] if self.tls else ["--port", str(self.port)]
        with open(f"{self.folder}.log", "ab") as log:
            self.process = subprocess.Popen(
                ["redis-server", "--bind", "127.0.0.1", *ports, "--dir", self.folder, "--save", "",
                 *self.options],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )
        until(self.is_there, f"redis {self.name} answers")

    def is_there(self):
        assert self.process.poll() is None, f"redis {self.name} ended; see {self.folder}.log"
        try:
            return self.ask(["PING"]) == "PONG"
        except (OSError, RuntimeError):
            return False

    def ask(self, *commands):
        """The answer to the last of some commands."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as raw:
            if self.tls:
                context = ssl.create_default_context(cafile=self.authority)
                raw = context.wrap_socket(raw, server_hostname="localhost")
            with raw, raw.makefile("rb") as said:
                answer = None
                login = [] if self.tls else [["AUTH", PASSWORD]]
                for words in [*login, *commands]:
                    words = [str(word).encode() for word in words]
                    raw.sendall(b"*%d\r\n" % len(words)
                                + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words))
                    answer = read(said)
                return answer

    def kill(self):
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def stop(self):
        if self.process is not None and self.process.poll() is None:
            self.kill()


def read(said):
    """One answer of Redis."""
    line = said.readline().rstrip(b"\r\n")
    kind, rest = line[:1], line[1:]
    if kind == b"-":
        raise RuntimeError(rest.decode())
    if kind == b"+":
        return rest.decode()
    if kind == b":":
        return int(rest)
    if kind == b"$":
        if rest == b"-1":
            return None
        return said.read(int(rest) + 2)[:-2].decode()
    assert kind == b"*", line
    return [read(said) for _ in range(int(rest))]


def certificates(suite):
    """The paths of an authority of our own, and of key and certificate that it gave to `localhost`."""
    path = suite.path
    run = lambda *words: subprocess.run(words, check=True, capture_output=True)
    run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=authority",
        "-keyout", path("ca.key"), "-out", path("ca.pem"), "-addext", "keyUsage=critical,keyCertSign")
    run("openssl", "req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost",
        "-keyout", path("broker.key"), "-out", path("broker.csr"))
    with open(path("names"), "w", encoding="utf-8") as names:
        names.write("subjectAltName=DNS:localhost\nextendedKeyUsage=serverAuth\n")
    run("openssl", "x509", "-req", "-in", path("broker.csr"), "-CA", path("ca.pem"), "-CAkey", path("ca.key"),
        "-CAcreateserial", "-days", "2", "-extfile", path("names"), "-out", path("broker.pem"))
    return path("ca.pem"), path("broker.key"), path("broker.pem")


def secure_redis(suite):
    """One that speaks TLS only, with a certificate of an authority of its own."""
    authority, key, certificate = certificates(suite)
    options = ["--tls-cert-file", certificate, "--tls-key-file", key,
               "--tls-ca-cert-file", authority, "--tls-auth-clients", "no"]

    class Secure(Redis):
        def __init__(self):
            self.authority = authority
            super().__init__(suite, "secure", *options, tls=True)

        def start(self):
            self.authority = authority
            super().start()

    secure = Secure()
    secure.authority = authority
    return secure


def streamed(redis, key="lapses"):
    """The entries of a stream as (id, event)."""
    entries = redis.ask(["XRANGE", key, "-", "+"])
    found = []
    for _, fields in entries:
        fields = dict(zip(fields[::2], fields[1::2]))
        found.append((fields["id"], json.loads(fields["event"])))
    return found


def delivery_of(client, queue, key):
    return (client.read(queue, key) or {}).get("delivery") or {}


def done(client, queue, key):
    """The delivery, once it is done."""
    def ended():
        delivery = delivery_of(client, queue, key)
        return delivery if delivery.get("state") == "done" else None

    return until(ended, f"{queue}/{key} is done")


def arrives(suite, client, plain, secure):
    """A stream, a list in another database, a short stream, a list behind TLS."""
    payload = {"total": "19.90", "text": "a\r\n$5\r\nb \U0001f600 \0"}
    for queue in ("stream", "list", "secure"):
        for number in range(20):
            reply = client.schedule(queue, f"k{number}", after="0s", payload=payload)
            suite.equal(reply.status, 201, f"schedule {queue}/k{number}")
        wanted = {done(client, queue, f"k{number}")["id"]: f"k{number}" for number in range(20)}
        if queue == "stream":
            found = streamed(plain)
        else:
            where = plain if queue == "list" else secure
            select = [["SELECT", 3]] if queue == "list" else []
            found = [json.loads(text) for text in where.ask(*select, ["LRANGE", "lapses", 0, -1])]
            found = [(event["data"]["delivery_id"], event) for event in found]
        suite.equal({given: event["data"]["key"] for given, event in found}, wanted, f"what came by {queue}")
        suite.equal(len(found), 20, f"each once by {queue}")
        for given, event in found:
            data = event["data"]
            suite.equal((event["type"], data["delivery_id"]), ("deadline.lapsed", given), "its type and id")
            suite.equal((data["queue"], data["payload"]), (queue, payload), "its queue and payload")
    for number in range(400):
        client.schedule("short", f"k{number}", after="0s")
    for number in range(400):
        suite.equal(done(client, "short", f"k{number}")["state"], "done", "published to the short stream")
    kept = plain.ask(["XLEN", "short"])
    suite.check(10 <= kept < 400, f"maxlen keeps about ten: {kept}")


def complaints(suite, client, plain):
    """What is wrong is said, and tried again; put right, it arrives."""
    plain.ask(["SET", "a-text", "x"])
    for queue, words in (
        ("wrong", "publish: wrong: WRONGPASS"),
        ("nobody", "publish: nobody: NOAUTH"),
        ("stranger", "publish: stranger: WRONGTYPE"),
        ("other", "publish: other: tls: "),
    ):
        client.schedule(queue, "c", after="0s")
        error = until(lambda: delivery_of(client, queue, "c").get("last_error"), f"{queue} is tried")
        suite.check(error.startswith(words), f"{queue}: {error}")
        suite.check("127.0.0.1" not in error and str(plain.port) not in error, f"no address: {error}")
        suite.check(delivery_of(client, queue, "c")["state"] != "done", f"{queue} is not done")
    plain.ask(["DEL", "a-text"])
    wanted = done(client, "stranger", "c")
    suite.check(wanted["attempts"] > 1, "it was tried again")
    suite.equal([given for given, _ in streamed(plain, "a-text")], [wanted["id"]], "and arrived")


def killed(suite, client, plain):
    """The broker is killed in mid-stream, again and again: nothing is lost, nothing is done unseen."""
    plain.ask(["DEL", "lapses"])
    scheduled = 0
    for turn in range(6):
        for _ in range(STREAMED // 6):
            client.schedule("stream", f"m{scheduled}", after="0s" if scheduled % 2 else "1s")
            scheduled += 1
            if scheduled % (STREAMED // 6) == STREAMED // 12:
                plain.kill()
        states = [delivery_of(client, "stream", f"m{number}") for number in range(scheduled)]
        seen_done = {delivery["id"] for delivery in states if delivery.get("state") == "done"}
        plain.start()
        there = {given for given, _ in streamed(plain)}
        missing = seen_done - there
        suite.equal(missing, set(), f"turn {turn}: done, and not in the stream")
    wanted = {}
    for number in range(scheduled):
        delivery = done(client, "stream", f"m{number}")
        wanted[delivery["id"]] = f"m{number}"
        suite.equal(delivery["state"], "done", f"m{number}")
    found = streamed(plain)
    suite.equal({given: event["data"]["key"] for given, event in found}, wanted, "every lapse arrived")
    retried = sum(delivery_of(client, "stream", f"m{n}")["attempts"] > 1 for n in range(scheduled))
    suite.check(retried > 0, "some met a broker that was away")
    print(f"{scheduled} published, {retried} of them tried again, {len(found) - scheduled} twice")


def names_only(suite, client):
    """The API names a publisher and can say nothing else about it."""
    for target in (
        {"publish": {"to": "nobody-knows"}},
        {"publish": {"to": "stream", "url": "redis://127.0.0.1"}},
        {"publish": {"url": "redis://127.0.0.1", "list": "x"}},
        {"publish": "stream"}, {"publish": ["stream"]}, {"publish": {}},
    ):
        reply = client.ask("PUT", "/v1/queues/of-mine", {"target": target})
        suite.check(reply.status in (400, 422), f"{target}: {reply!r}")


def settings(suite):
    """A wrong setting is told by its name and without its password."""
    for lines, key in (
        ('url = "redis://:hunter2@h"', "publish.p.stream"),
        ('url = "redis://:hunter2@h"\nlist = "a"\nstream = "b"', "publish.p.stream"),
        ('url = "redis://:hunter2@h"\nlist = "a"\nmaxlen = 5', "publish.p.maxlen"),
        ('url = "http://:hunter2@h"\nlist = "a"', "publish.p.url"),
        ('url = "redis://:hunter2@h/x"\nlist = "a"', "publish.p.url"),
        ('url = "redis://hunter2@h"\nlist = "a"', "publish.p.url"),
        ('url = "hunter2"\nlist = "a"', "publish.p.url"),
        ('url = "redis://:hunter2@h"\nlist = "a"\nca_file = "/x"', "publish.p.ca_file"),
        ('url = "redis://:hunter2@h"\nlist = "a"\nurl_file = "/x"', "publish.p.url_file"),
        ('url_file = "/nowhere/x"\nlist = "a"', "publish.p.url_file"),
        ('list = "a"', "publish.p.url"),
        ('url = "redis://:hunter2@h"\nqueue = "a"', "publish.p.queue"),
        ('url = "amqp://u:hunter2@h"', "publish.p.queue"),
        ('url = "amqp://u:hunter2@h"\nqueue = "a"\nexchange = "b"', "publish.p.queue"),
        ('url = "amqp://u:hunter2@h"\nqueue = "a"\nrouting_key = "b"', "publish.p.routing_key"),
        ('url = "amqp://u:hunter2@h"\nlist = "a"', "publish.p.list"),
        ('url = "amqp://u:hunter2@h/a/b"\nqueue = "a"', "publish.p.url"),
    ):
        file = suite.path("bad.toml")
        with open(file, "w", encoding="utf-8") as out:
            out.write(f"[publish.p]\n{lines}\n")
        said = subprocess.run([suite.binary, "config", "--check", file], capture_output=True, text=True,
                              check=False)
        suite.check(said.returncode == 78 and key in said.stderr, f"{lines}: {said.returncode} {said.stderr}")
        suite.check("hunter2" not in said.stderr + said.stdout, f"no password in a message: {said.stderr}")


if __name__ == "__main__":
    main()
