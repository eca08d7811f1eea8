#!/usr/bin/env python3
"""Everything a caller or an operator can get wrong: a clear refusal each, and nothing half done.

Over HTTP each answer is `application/problem+json` with a stable code and a hint, also where the
framework would answer by itself. At the start each failure is one message and an exit status.
"""

import os
import socket
import subprocess
import time

from blackbox import Suite, free_port, now_ms, rfc3339

HOUR = 3_600_000
YEAR = 365 * 24 * HOUR
ONE = "/v1/queues/orders/deadlines/42"


def main():
    with Suite("badinput", floor=500) as suite:
        server = suite.server()
        with server.client() as client:
            schedules(suite, client)
            documents(suite, client)
            verbs(suite, client)
            queues(suite, client)
            framework(suite, client)
            listing(suite, client)
        raw_bytes(suite, server)
        foreign(suite, server)
        nothing_half_done(suite, server)
        starts(suite, server)
        configurations(suite)


def refused(suite, reply, status, code, what):
    """One refusal: status, code, hint and kind."""
    good = suite.equal(reply.status, status, f"{what}: status of {reply!r}")
    suite.equal(reply.kind, "application/problem+json", f"{what}: content type")
    if code is not None:
        suite.equal(reply["code"], code, f"{what}: code")
    else:
        suite.check(reply["code"], f"{what}: has a code: {reply!r}")
    suite.equal(reply["status"], status, f"{what}: status in the body")
    suite.check(reply["title"] and reply["hint"], f"{what}: has a title and a hint: {reply!r}")
    return good


def schedules(suite, client):
    """Schedules that must not be."""
    put = lambda body, path=ONE: client.ask("PUT", path, body)
    table = [
        ({"after": "soon"}, 400, "bad_duration"),
        ({"after": "30 parsecs"}, 400, "bad_duration"),
        ({"after": "-5m"}, 400, "bad_duration"),
        ({"after": "30"}, 400, "bad_duration"),
        ({"after": 1.5}, 400, None),
        ({"after": "9999999999999999999d"}, 400, "bad_duration"),
        ({"due": "tomorrow"}, 400, "bad_instant"),
        ({"due": "2026-11-22T12:00:00"}, 400, "bad_instant"),
        ({"due": 1_790_000_000}, 400, "instant_in_seconds"),
        ({"due": rfc3339(now_ms() - 2 * HOUR)}, 422, "due_in_past"),
        ({"due": now_ms() - 2 * HOUR}, 422, "due_in_past"),
        ({"due": rfc3339(now_ms() + 11 * YEAR)}, 422, "due_too_far"),
        ({"after": "4000d"}, 422, "due_too_far"),
        ({"after": "30m", "due": rfc3339(now_ms() + HOUR)}, 400, "bad_field"),
        ({"after": "30m", "aftr": 1}, 400, "unknown_field"),
        ({"after": "30m", "if_exists": "perhaps"}, 400, "bad_field"),
        ({"after": "30m", "priority": "high"}, 400, "bad_field"),
        ({"after": "30m", "payload": "x" * (65 * 1024)}, 413, "payload_too_large"),
        ({}, 422, "no_due_time"),
        ([], 400, "bad_field"),
        (b"{", 400, "malformed_json"),
        (b'{"after":"30m"} trailing', 400, "malformed_json"),
        (b'{"after":"30m","payload":"\xff\xfe"}', 400, "malformed_json"),
        (b"[" * 100 + b"]" * 100, 400, "too_deep"),
        (b'{"after":"30m","payload":' + b"[" * 80 + b"]" * 80 + b"}", 400, "too_deep"),
    ]
    for body, status, code in table:
        refused(suite, put(body), status, code, f"schedule {str(body)[:60]}")
        suite.equal(client.get(ONE).status, 404, f"nothing is left of {str(body)[:60]}")
    paths = [
        ("/v1/queues/orders/deadlines/" + "k" * 513, "bad_key"),
        ("/v1/queues/orders/deadlines/%FF", "bad_key"),
        ("/v1/queues/orders/deadlines/a%00b", "bad_key"),
        ("/v1/queues/orders/deadlines/", "unknown_path"),
        ("/v1/queues/" + "q" * 65 + "/deadlines/1", "bad_queue_name"),
        ("/v1/queues/no%20spaces/deadlines/1", "bad_queue_name"),
        ("/v1/queues/a%2Fb/deadlines/1", "bad_queue_name"),
    ]
    for path, code in paths:
        reply = put({"after": "30m"}, path)
        refused(suite, reply, 404 if code == "unknown_path" else 400, code, path[:60])
    good = put({"after": "30m"}, "/v1/queues/orders/deadlines/" + "k" * 512)
    suite.equal(good.status, 201, "a key of 512 bytes is one")
    good = put({"due": rfc3339(now_ms() - HOUR // 2), "payload": "x" * (63 * 1024)}, ONE)
    suite.equal(good.status, 201, "half an hour late is forgiven, 63 KiB are carried")
    past = {"due": rfc3339(now_ms() - 2 * HOUR), "allow_past": True}
    suite.equal(client.schedule("orders", "past", **past).status, 201, "allow_past")
    # Whatever the Content-Type, a body is JSON.
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    reply = client.ask("PUT", "/v1/queues/orders/deadlines/form", b'{"after":"1h"}', headers)
    suite.equal(reply.status, 201, "JSON under another content type")
    again = client.schedule("orders", "form", after="1h", if_exists="fail")
    refused(suite, again, 409, None, "if_exists fail")


def documents(suite, client):
    """Bodies of the other verbs."""
    client.schedule("orders", "v", after="1h")
    table = [
        ("settle", {"outcome": "x" * 300}, "bad_outcome"),
        ("settle", {"outcome": 7}, "bad_field"),
        ("settle", {}, "missing_field"),
        ("settle", {"out_come": "paid"}, "unknown_field"),
        ("settle", b"nonsense", "malformed_json"),
        ("settle", {"outcome": "paid", "remember": "8d"}, "bad_duration"),
        ("extend", {}, "missing_field"),
        ("extend", {"by": "long"}, "bad_duration"),
        ("freeze", {"for": "long"}, "bad_duration"),
        ("freeze", {}, "missing_field"),
    ]
    for verb, body, code in table:
        path = f"/v1/queues/orders/deadlines/v/{verb}"
        reply = client.ask("POST", path, body)
        status = reply.status if reply.status in (400, 422) else 400
        refused(suite, reply, status, code, f"{verb} {str(body)[:40]}")
    suite.equal(client.read("orders", "v")["state"], "pending", "still pending after all that")


def verbs(suite, client):
    """Things that are not there, or not so."""
    for verb, body in [
        ("settle", {"outcome": "paid"}),
        ("extend", {"by": "5m"}),
        ("freeze", {"for": "5m"}),
        ("revive", {}),
    ]:
        reply = client.ask("POST", f"/v1/queues/nowhere/deadlines/1/{verb}", body)
        refused(suite, reply, 404, "unknown_queue", f"{verb} in an unknown queue")
        reply = client.ask("POST", f"/v1/queues/orders/deadlines/nobody/{verb}", body)
        refused(suite, reply, 404, "unknown_deadline", f"{verb} of an unknown deadline")
    refused(suite, client.get("/v1/queues/nowhere"), 404, "unknown_queue", "GET queue")
    refused(suite, client.get("/v1/queues/nowhere/deadlines/1"), 404, "unknown_queue", "GET")
    refused(suite, client.lease("nowhere", max=1), 404, "unknown_queue", "lease")
    reply = client.ask("DELETE", "/v1/queues/orders/deadlines/v")
    refused(suite, reply, 409, "still_pending", "erase a pending one")
    client.act("orders", "v", "settle", outcome="paid")
    reply = client.act("orders", "v", "settle", outcome="cancelled")
    refused(suite, reply, 409, "settled_otherwise", "settle otherwise")
    reply = client.act("orders", "v", "extend", by="5m")
    refused(suite, reply, 409, None, "extend a settled one")
    reply = client.verdict("nosuch-1-1", "1", "done")
    refused(suite, reply, 404, "unknown_delivery", "verdict on nothing")
    client.queue("pulled", target="pull")
    client.schedule("pulled", "1", after="0s")
    leased = client.lease("pulled", max=1, wait="20s", lease="30s")["deliveries"][0]
    reply = client.verdict(leased["id"], leased["token"] + "0", "done")
    refused(suite, reply, 409, "lease_lost", "a wrong token")
    reply = client.verdict(leased["id"], leased["token"], "maybe")
    refused(suite, reply, 400, None, "an unknown verdict")
    suite.equal(client.verdict(leased["id"], leased["token"], "done").status, 200, "verdict")
    suite.equal(client.verdict(leased["id"], leased["token"], "done").status, 200, "repeated")


def queues(suite, client):
    """Policies that must not be."""
    table = [
        {"target": "somewhere"},
        {"target": {"webhook": {"url": "not a url"}}},
        {"target": {"webhook": {"url": "ftp://127.0.0.1/x"}}},
        {"target": {"webhook": {"url": "http://127.0.0.1/x", "secrets": ["weak"]}}},
        {"target": {"exec": {"command": "/bin/sh"}}},
        {"target": {"sql": {"steps": ["DROP TABLE orders"]}}},
        {"default_delay": "soon"},
        {"retry": []},
        {"retry": ["often"]},
        {"concurrency": 0},
        {"grace": "-1s"},
        {"decide_at": "leisure"},
        {"colour": "red"},
    ]
    for policy in table:
        reply = client.ask("PUT", "/v1/queues/bad", policy)
        status = reply.status if reply.status in (400, 403, 422) else 400
        refused(suite, reply, status, None, f"policy {policy}")
        suite.equal(client.get("/v1/queues/bad").status, 404, f"nothing is left of {policy}")
    reply = client.ask("DELETE", "/v1/queues/orders")
    refused(suite, reply, 409, None, "DELETE a queue that is not empty")


def framework(suite, client):
    """What a framework would answer by itself."""
    refused(suite, client.get("/nowhere"), 404, None, "an unknown path")
    refused(suite, client.get("/v1/nowhere"), 404, None, "an unknown path under /v1")
    for method, path in [("POST", "/healthz"), ("DELETE", "/v1/queues"), ("PATCH", ONE)]:
        reply = client.ask(method, path, {})
        status = reply.status if reply.status in (404, 405) else 405
        refused(suite, reply, status, None, f"{method} {path}")
    reply = client.ask("PUT", ONE, b"x" * (17 * 1024 * 1024))
    refused(suite, reply, 413, None, "17 MiB")


def listing(suite, client):
    """Bad questions about many."""
    for query in ["state=asleep", "limit=many", "limit=-1", "cursor=nonsense", "colour=red",
                  "due_from=yesterday"]:
        reply = client.get(f"/v1/queues/orders/deadlines?{query}")
        refused(suite, reply, 400, None, query)
    reply = client.ask("POST", "/v1/batch", b"nonsense\n")
    suite.check(reply.status in (200, 400), f"a batch of nonsense: {reply!r}")
    suite.check(b'"code"' in reply.raw, f"a batch of nonsense has a code: {reply!r}")


def raw_bytes(suite, server):
    """What is not HTTP, or not quite, closes that connection only."""
    for text in [
        b"nonsense\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"x" * 20_000 + b"\r\n\r\n",
        b"PUT " + ONE.encode() + b" HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"*1\r\n$4\r\nPING\r\n",
    ]:
        with socket.create_connection(("127.0.0.1", server.port), timeout=20) as line:
            line.sendall(text)
            line.shutdown(socket.SHUT_WR)
            said = b""
            try:
                while more := line.recv(65536):
                    said += more
            except ConnectionResetError:
                pass
        suite.check(
            not said or said.split(b" ")[1][:1] == b"4", f"{text[:30]!r} is answered {said[:80]!r}"
        )
        suite.check(server.ready(), f"the server lives after {text[:30]!r}")


def foreign(suite, server):
    """Without API keys a page from elsewhere may not speak to a server on loopback."""
    with server.client() as client:
        for headers in [{"Origin": "https://evil.example"}, {"Host": "evil.example"}]:
            reply = client.ask("PUT", ONE, {"after": "1h"}, headers)
            refused(suite, reply, 403, None, f"{headers}")
        for headers in [{"Host": f"localhost:{server.port}"},
                        {"Origin": f"http://127.0.0.1:{server.port}"}]:
            reply = client.ask("GET", "/v1/queues/orders", None, headers)
            suite.equal(reply.status, 200, f"{headers} is at home")


def nothing_half_done(suite, server):
    """After all these refusals the counts say only what was accepted."""
    with server.client() as client:
        reply = client.get("/v1/queues/orders/deadlines?limit=100")
        keys = sorted(each["key"] for each in reply["deadlines"])
        suite.equal(keys, sorted(["k" * 512, "42", "past", "form", "v"]), "what is there")
        names = sorted(each["name"] for each in client.get("/v1/stats")["queues"])
        suite.equal(names, ["orders", "pulled"], "which queues there are")


def ends(suite, what, line, wanted, status, env=None, user=None):
    """A start that must fail at once: its exit status and words in its one message."""
    began = time.monotonic()
    try:
        ended = subprocess.run(
            [suite.binary, *line], capture_output=True, text=True, timeout=30, cwd=suite.directory,
            env={**os.environ, **(env or {})}, user=user,
        )
    except subprocess.TimeoutExpired:
        suite.check(False, f"{what}: the server is still running after 30 s")
        return
    said = ended.stdout + ended.stderr
    suite.equal(ended.returncode, status, f"{what}: exit status: {said}")
    for word in wanted:
        suite.check(str(word) in said, f"{what}: does not name `{word}`: {said}")
    suite.check("panicked" not in said and "RUST_BACKTRACE" not in said, f"{what}: {said}")
    suite.check(len(said.strip().splitlines()) <= 8, f"{what}: is not one message: {said}")
    suite.check(time.monotonic() - began < 20, f"{what}: took long")


def starts(suite, running):
    """Starts that must fail."""
    http = f"127.0.0.1:{free_port()}"
    serve = lambda data, *rest: ["serve", "--data", data, "--http", http, "--redis", "off", *rest]
    ends(suite, "a second server on the same directory", serve(running.data), [running.data],
         75)
    taken = ["serve", "--data", suite.path("other"), "--http", f"127.0.0.1:{running.port}",
             "--redis", "off"]
    ends(suite, "a port in use", taken, [running.port], 75)
    taken = ["serve", "--data", suite.path("other"), "--http", http,
             "--redis", f"127.0.0.1:{running.port}"]
    ends(suite, "a port in use, for the Redis protocol", taken, [running.port, "--redis"], 75)
    file = suite.path("file")
    with open(file, "w", encoding="utf-8") as out:
        out.write("not a directory")
    ends(suite, "a file in place of the directory", serve(file), [file], 73)
    if os.getuid() == 0:
        closed = suite.path("closed")
        os.mkdir(closed, 0o755)
        os.chmod(suite.directory, 0o755)
        ends(suite, "an unwritable directory", serve(closed), [closed], 77,
             user="nobody")
    open_wide = ["serve", "--data", suite.path("wide"), "--http", "0.0.0.0:0"]
    ends(suite, "an open address without keys", open_wide, ["API keys"], 78)
    open_wide = ["serve", "--data", suite.path("wide"), "--http", http, "--redis", "0.0.0.0:0"]
    ends(suite, "the Redis protocol at an open address", open_wide, ["API keys"], 78)
    ends(suite, "an unknown flag", ["serve", "--colour"], ["--colour"], 2)
    ends(suite, "an unknown command", ["server"], ["server"], 2)
    ends(suite, "a missing configuration", serve(suite.path("d"), "--config", "/nowhere/duly.toml"),
         ["/nowhere/duly.toml"], 78)
    suite.check(running.ready(), "the first server never noticed")
    for name in ("other", "wide", "d"):
        made = os.path.exists(suite.path(name)) and os.listdir(suite.path(name))
        suite.check(not made or name == "other", f"`{name}` was begun: {made}")


def configurations(suite):
    """Bad configuration: one message that names file, line and key."""
    table = [
        ("[http]\nlisen = '127.0.0.1:1'\n", 2, "lisen"),
        ("\n\n[nonsense]\nx = 1\n", 3, "nonsense"),
        ("[queues.orders]\ndefault_delay = 'soon'\n", 2, "default_delay"),
        ("[queues.orders]\ngrace = 5\nretry = 'often'\n", 3, "retry"),
        ("[queues.orders\n", 1, ""),
        ("[queues.orders]\ntarget = { sql = 'nowhere' }\n", 2, "nowhere"),
        ("[sql.x]\ndatabase = 'nowhere'\nsteps = ['SELECT 1']\n", 2, "nowhere"),
        ("[http]\nlisten = '0.0.0.0:7830'\n", 2, "API keys"),
        ("[journal]\nsegment_size = 'large'\n", 2, "segment_size"),
    ]
    for number, (text, line, key) in enumerate(table):
        file = suite.path(f"bad{number}.toml")
        with open(file, "w", encoding="utf-8") as out:
            out.write(text)
        data = suite.path(f"never{number}")
        start = ["serve", "--data", data, "--config", file, "--redis", "off"]
        if "listen" not in text:
            start += ["--http", f"127.0.0.1:{free_port()}"]
        ends(suite, f"configuration {text!r}", start, [f"{file}:{line}", key], 78)
        suite.check(not os.path.exists(data), f"nothing was begun by {text!r}")


if __name__ == "__main__":
    main()
