#!/usr/bin/env python3
"""Real clients of Redis, as their makers publish them, do with Duly what they do with Redis.

Each goes through one scenario in a process of its own: it connects in its own way, sets a key with
an expiry, moves that, deletes the key, hears of one that expires, sends a pipeline of 10,000, waits for
work and comes back after the server was killed. What it says of itself is compared with what the HTTP API shows. The
programs are in `clients/`, and they know nothing of Duly.
"""

import json
import os
import subprocess
import sys
import threading

from blackbox import PATIENCE, Suite, instant

HERE = os.path.dirname(os.path.abspath(__file__))
STEPS = ["connect", "schedule", "once", "extend", "settle", "event", "pipeline", "lease",
         "reconnect"]
PIPELINE = 10_000


def main():
    with Suite("redis_clients", floor=105) as suite:
        server = suite.server(redis=True, config="[journal]\nsegment_size = '1MiB'\n")
        clients = {
            "redis-py": [sys.executable, path("clients", "redis_py.py")],
            "phpredis": ["php", path("clients", "phpredis.php")],
            "predis": ["php", path("clients", "predis.php")],
            "ioredis": ["node", path("node", "ioredis.mjs")],
            "redis-crate": [crate(suite)],
        }
        with server.client() as http:
            for name in [*clients, "redis-cli"]:
                http.queue(f"{name}-work", target="pull")
        for name, line in clients.items():
            scenario(suite, server, name, line)
            records(suite, server, name)
        redis_cli(suite, server, "redis-cli")
        records(suite, server, "redis-cli")
        suite.check("panicked" not in server.said(), "nothing panicked")


def path(*parts):
    """A file beside this one."""
    return os.path.join(HERE, *parts)


def crate(suite):
    """The program around the `redis` crate, built beside Duly itself."""
    built = os.path.dirname(os.path.dirname(suite.binary))
    subprocess.run(
        ["cargo", "build", "--quiet", "--locked", "--manifest-path",
         path("clients", "crate", "Cargo.toml"), "--target-dir", os.path.join(built, "clients")],
        check=True,
    )
    return os.path.join(built, "clients", "debug", "redis-client")


def scenario(suite, server, name, line):
    """A client tells how each step went; where it asks for it, the server is killed."""
    process = subprocess.Popen(
        [*line, str(server.redis), name], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    )
    late = threading.Timer(2 * PATIENCE, process.kill)
    late.start()
    good = []
    for said in process.stdout:
        word, _, step = said.strip().partition(" ")
        if word == "kill":
            killed(server)
            process.stdin.write("go\n")
            process.stdin.flush()
        elif suite.check(word == "good", f"{name}: {said.strip()}"):
            good.append(step)
    late.cancel()
    complaint = process.stderr.read()
    suite.equal(process.wait(), 0, f"{name} ends well: {complaint[-2000:]}")
    suite.equal(good, STEPS, f"{name} goes through all of it: {complaint[-2000:]}")
    process.stdin.close()


def killed(server):
    """The server is killed, and comes back at the same place."""
    server.kill()
    server.start(server.port, server.redis)


def records(suite, server, name):
    """What a client did is what the HTTP API shows."""
    with server.client() as http:
        first, second = (http.read(name, key) for key in ("1", "2"))
        suite.equal((first["state"], first.get("outcome")), ("settled", "deleted"),
                    f"{name}: what was deleted is settled")
        suite.equal(first["payload"], {"total": "19.90"}, f"{name}: its payload is JSON")
        suite.equal(second["state"], "lapsed", f"{name}: what expired has lapsed")
        suite.check(instant(second["lapsed_at"]) >= instant(second["due"]),
                    f"{name}: not before its time")
        leased = http.read(f"{name}-work", "1")
        suite.equal(leased["delivery"]["state"], "done", f"{name}: what it leased is done")
        stats = http.get(f"/v1/queues/{name}-many/stats")
        suite.equal(stats["queue"]["now"]["pending"], PIPELINE, f"{name}: the whole pipeline is kept")


def redis_cli(suite, server, name):
    """Debian's redis-cli, typed into and piped into, with both versions of the protocol."""
    def cli(*words, **how):
        done = subprocess.run(
            ["redis-cli", "-p", str(server.redis), *words], capture_output=True, text=True,
            timeout=PATIENCE, check=False, **how,
        )
        return done.stdout.strip()

    suite.equal(cli("PING"), "PONG", "redis-cli: connect")
    manual = cli(input="help DULY.SETTLE\nhelp @duly\n")
    for words in ("queue key outcome [REMEMBER duration] [GENERATION number]",
                  "Says that the awaited thing has happened", "DULY.LEASE"):
        suite.check(words in manual, f"redis-cli: its help has {words}: {manual}")
    suite.equal(cli("-3", "PING"), "PONG", "redis-cli: connect with version 3")
    typed = f"SETEX {name}:1 3600 \"{{\\\"total\\\":\\\"19.90\\\"}}\"\nTTL {name}:1\nGET {name}:1\n"
    answers = cli(input=typed).splitlines()
    suite.equal(answers[0], "OK", "redis-cli: schedule")
    suite.check(3590 <= int(answers[1]) <= 3600, f"redis-cli: {answers[1]} seconds are left")
    suite.equal(answers[2], '{"total":"19.90"}', "redis-cli: the value")
    suite.equal(cli("SET", f"{name}:1", "x", "NX", "EX", "60"), "", "redis-cli: once")
    suite.equal(cli("EXPIRE", f"{name}:1", "7200"), "1", "redis-cli: extend")
    suite.equal(cli("DEL", f"{name}:1"), "1", "redis-cli: settle")
    suite.equal(cli("DEL", f"{name}:1"), "0", "redis-cli: settle once")
    for version in ("-2", "-3"):
        listens = subprocess.Popen(
            ["redis-cli", version, "-p", str(server.redis), "PSUBSCRIBE", "__keyevent@*__:expired"],
            stdout=subprocess.PIPE, text=True,
        )
        # Its first lines say that it is subscribed; then comes what happens.
        first = [listens.stdout.readline() for _ in range(3)]
        suite.check("psubscribe" in first[0], f"redis-cli {version}: {first}")
        suite.equal(cli("PSETEX", f"{name}:2", "200", "x"), "OK", "redis-cli: a key that expires")
        late = threading.Timer(PATIENCE, listens.kill)
        late.start()
        heard = [listens.stdout.readline() for _ in range(4)]
        late.cancel()
        suite.check(f"{name}:2" in heard[3], f"redis-cli {version} heard {heard}")
        listens.kill()
        listens.wait()
        listens.stdout.close()
    suite.equal(cli("EXISTS", f"{name}:2"), "0", "redis-cli: it is gone")
    lines = "".join(f"SETEX {name}-many:{number} 3600 {number}\r\n" for number in range(PIPELINE))
    said = cli("--pipe", input=lines)
    suite.check(f"errors: 0, replies: {PIPELINE}" in said, f"redis-cli --pipe: {said}")
    suite.equal(cli("PSETEX", f"{name}-work:1", "300", "x"), "OK", "redis-cli: for a worker")
    leased = json.loads(cli("--json", "DULY.LEASE", f"{name}-work", "WAIT", "20s"))["deliveries"]
    suite.equal([delivery["key"] for delivery in leased], ["1"], "redis-cli: a lease that waits")
    cli("DULY.VERDICT", leased[0]["id"], leased[0]["token"], "done")
    shell = subprocess.Popen(
        ["redis-cli", "-p", str(server.redis)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, bufsize=1,
    )
    shell.stdin.write(f"SETEX {name}:3 3600 kept\n")
    suite.equal(shell.stdout.readline().strip(), "OK", "redis-cli: a key")
    killed(server)
    shell.stdin.write(f"GET {name}:3\nGET {name}:3\nGET {name}:3\nQUIT\n")
    said, _ = shell.communicate(timeout=PATIENCE)
    suite.check("kept" in said, f"redis-cli comes back: {said}")


if __name__ == "__main__":
    main()
