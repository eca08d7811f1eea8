#!/usr/bin/env python3
"""Real clients of Redis, as their makers publish them, do with Duly what they do with Redis.

Each goes through one scenario in a process of its own: it connects in its own way, sets a key with
an expiry, moves that, deletes the key, hears of one that expires, sends a pipeline of 10,000, waits for
work and comes back after the server was killed. What it says of itself is compared with what the HTTP API shows. The
programs are in `clients/`, and they know nothing of Duly. At last the API of one protocol is compared with that of the other.
"""

import json
import os
import subprocess
import sys
import threading

import redis

from blackbox import PATIENCE, Suite, instant, now_ms, rfc3339, until

HERE = os.path.dirname(os.path.abspath(__file__))
STEPS = ["connect", "schedule", "once", "extend", "settle", "event", "pipeline", "lease",
         "reconnect"]
PIPELINE = 10_000


def main():
    with Suite("redis_clients", floor=135) as suite:
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
        as_over_http(suite, server)
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


def as_over_http(suite, server):
    """Queues and lists over this protocol are what they are over HTTP: the same fields, the same codes."""
    talk = redis.Redis(port=server.redis, protocol=3, decode_responses=True)
    duly = talk.execute_command
    policy = {"default_delay": "1h", "grace": "5s", "retry": ["1s", "2s"], "rate": 100,
              "target": {"webhook": {"url": "http://127.0.0.1:9/", "batch": 7,
                                     "secrets": ["whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz"]}}}
    with server.client() as http:
        def queue():
            shown = http.get("/v1/queues/same")["queue"]
            told = duly("DULY.QUEUE", "GET", "same")["queue"]
            told["policy"] = json.loads(told["policy"])
            suite.equal(told, shown, "a queue is shown as over HTTP")
            return told

        duly("DULY.QUEUE", "PUT", "same", json.dumps(policy))
        suite.equal(queue()["policy"]["retry"], ["1s", "2s"], "a queue is put")
        for options, deliveries, lapses in [
                ([], True, False), (["LAPSES"], True, True), (["DELIVERIES"], True, True)]:
            duly("DULY.QUEUE", "PAUSE", "same", *options)
            told = queue()
            suite.equal((told["paused"], told["lapse_paused"]), (deliveries, lapses), "it is paused")
        duly("DULY.QUEUE", "RESUME", "same", "DELIVERIES", "LAPSES")
        told = queue()
        suite.equal((told["paused"], told["lapse_paused"]), (False, False), "it goes on")
        names = [queue["name"] for queue in duly("DULY.QUEUE", "LIST")["queues"]]
        suite.equal(names, [queue["name"] for queue in http.get("/v1/stats")["queues"]],
                    "all queues are listed")
        for document in ['{"target":{"sql":"nowhere"}}', '{"rate":0}', '{"grace":"soon"}', "[]", "{",
                         '{"targt":"pull"}', '{"target":{"webhook":{"url":"http://127.0.0.1/"}}}']:
            code = http.ask("PUT", "/v1/queues/same", document.encode())["code"]
            said = refused(duly, "DULY.QUEUE", "PUT", "same", document)
            suite.equal(said.partition(" ")[0], code.upper(), f"the policy {document}: {said}")
        suite.equal(queue()["policy"]["rate"], 100, "a policy that is refused changes nothing")

        # What has lapsed stays as it is.
        duly("DULY.QUEUE", "PUT", "same", json.dumps({**policy, "grace": "0s"}))
        duly("DULY.QUEUE", "PAUSE", "same")
        for number in range(25):
            duly("DULY.SCHEDULE", "same", f"k{number}", "AFTER", f"{number % 5 + 1}h",
                 "PAYLOAD", json.dumps({"number": number}))
        for number in range(0, 25, 2):
            duly("DULY.SETTLE", "same", f"k{number}", "paid")
        for number in range(3):
            duly("DULY.SCHEDULE", "same", f"late{number}", "AFTER", "0s", "IF_EXISTS", "fail")
        until(lambda: duly("DULY.QUEUE", "GET", "same")["queue"]["now"]["ready"] == 3,
              "three have lapsed")
        window = ("FROM", rfc3339(now_ms()), "TO", rfc3339(now_ms() + 4 * 3_600_000), "BY", "-10m")
        body = {"from": window[1], "to": window[3], "by": "-10m", "dry_run": True}
        would = http.ask("POST", "/v1/queues/same/shift", body).json
        suite.equal(duly("DULY.QUEUE", "SHIFT", "same", *window, "DRY_RUN"), would, "a shift, dry")
        duly("DULY.QUEUE", "SHIFT", "same", *window)
        # Among many deadlines it goes on by itself; the queue shows it until it has ended.
        until(lambda: "shift" not in duly("DULY.QUEUE", "GET", "same")["queue"], "the shift ends")
        moved = [deadline["key"] for page in pages_told(duly, {"state": "pending"})
                 for deadline in page if deadline["timeline"][-1]["what"] == "shifted"]
        suite.equal(len(moved), would["would_move"], "a shift moves what it said")
        for options in ({}, {"state": "pending"}, {"state": "settled", "limit": "4"},
                        {"state": "lapsed", "delivery": "ready"}, {"key_prefix": "late"},
                        {"due_from": window[1], "due_to": window[3], "limit": "5"}):
            shown, told = pages_shown(http, options), pages_told(duly, options)
            suite.equal(told, shown, f"a list with {options} is as over HTTP")
            suite.check(any(shown), f"there is something with {options}")
        suite.equal(refused(duly, "DULY.QUEUE", "DELETE", "same").partition(" ")[0],
                    "QUEUE_NOT_EMPTY", "a queue that holds something stays")
        duly("DULY.QUEUE", "PUT", "same-empty", "{}")
        suite.equal(duly("DULY.QUEUE", "DELETE", "same-empty"), {"deleted": True}, "a queue is deleted")
        suite.equal(http.get("/v1/queues/same-empty").status, 404, "and it is gone")
    talk.close()


def refused(duly, *words):
    """What a command is refused with."""
    try:
        return f"not refused: {duly(*words)}"
    except redis.ResponseError as error:
        return str(error)


def pages_shown(http, options):
    """A list, page by page, over HTTP."""
    pages, cursor = [], None
    while True:
        query = "&".join(f"{name}={value}" for name, value in
                         {**options, **({"cursor": cursor} if cursor else {})}.items())
        page = http.get(f"/v1/queues/same/deadlines?{query}")
        pages.append(page["deadlines"])
        cursor = page["next_cursor"]
        if cursor is None:
            return pages


def pages_told(duly, options):
    """The same over this protocol, where a payload is its bytes."""
    pages, cursor = [], None
    while True:
        words = [word for option in options.items() for word in option]
        page = duly("DULY.LIST", "same", *words, *(["CURSOR", cursor] if cursor else []))
        for deadline in page["deadlines"]:
            deadline["payload"] = deadline["payload"] and json.loads(deadline["payload"])
        pages.append(page["deadlines"])
        cursor = page["next_cursor"]
        if cursor is None:
            return pages


if __name__ == "__main__":
    main()
