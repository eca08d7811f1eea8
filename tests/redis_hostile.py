#!/usr/bin/env python3
"""Clients of the Redis protocol that mean harm, or are broken: nobody else notices them.

Garbage, requests that never end, readers that never read, more clients than there are places. The
memory of the server stays bounded all the while, and whoever behaves is served.
"""

import itertools
import random
import resource
import socket
import struct
import threading
import time

from blackbox import Suite, until
from peers.resp import Resp, Wrong, request

MIB = 1 << 20
CUT = 150.0
"""The server lets go after 30 s; a loaded machine may take longer to get there."""


def main():
    with Suite("redis_hostile", floor=300) as suite:
        files, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        clients = min(10_000, (most - 1_000) // 4)
        server = suite.server(
            redis=True,
            config="[journal]\nsegment_size = '1MiB'\n[redis]\n"
            f"connections = {clients}\nunix = '{suite.path('duly.sock')}'\nunix_mode = '600'\n",
        )
        garbage(suite, server)
        places(suite, server, clients)
        greed(suite, server)
        leftovers(suite, server)
        echoes(suite, server)
        hang_ups(suite, server)
        # What takes as long as the server's patience runs side by side.
        together(suite, server)
        idle(suite)
        behind(suite)
        stopping(suite, server)
        suite.check("panicked" not in server.said(), "nothing panicked")


def memory(server):
    """What the server holds of the machine's memory, in bytes."""
    with open(f"/proc/{server.process.pid}/status", encoding="ascii") as status:
        line = next(line for line in status if line.startswith("VmRSS:"))
    return int(line.split()[1]) * 1024


def figure(server, name):
    """One figure of the server's metrics."""
    with server.client() as client:
        text = client.get("/metrics").raw.decode()
    lines = [line for line in text.splitlines() if line.startswith(f"duly_redis_{name} ")]
    return int(float(lines[0].split()[1])) if lines else 0


def serves(suite, server, what):
    """Everybody else is served, over both protocols."""
    key = f"well:{random.randrange(1 << 60)}"
    with Resp(server.redis) as client, server.client() as http:
        suite.equal(client.call("SET", key, "x", "EX", 600), "OK", f"{what}: SET")
        suite.equal(client.call("GET", key), b"x", f"{what}: GET")
        suite.equal(http.get("/readyz").status, 200, f"{what}: readyz")


def garbage(suite, server):
    """Bytes that are no requests: an error or nothing, the end, and no harm."""
    noise = random.Random(7)
    rubbish = [
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        b"POST /v1/batch HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nFLUSHALL\n",
        bytes.fromhex("16030100a5010000a10303") + bytes(160),
        b"*1\r\n$-5\r\n", b"*99999999\r\n", b"*1\r\n$99999999999\r\n", b"*1\r\n:5\r\n",
        b"*1x\r\n", b"*1\r\n$4\r\nPINGPING\r\n", b"SET k \"v\r\n", b"x" * 100_000,
        b"*" + b"1" * 100, b"$5\r\nhello\r\n+OK\r\n\0\0\0\0" + b"*3\r\n$x\r\n",
    ]
    rubbish += [noise.randbytes(noise.randrange(1, 3_000)) + b"\r\n*1\r\n!\r\n" for _ in range(60)]
    for bytes_ in rubbish:
        with Resp(server.redis) as client:
            try:
                client.socket.sendall(bytes_)
                client.socket.shutdown(socket.SHUT_WR)
            except ConnectionError:
                pass
            suite.check(client.ends(), f"{bytes_[:40]!r} ends the conversation")
    with Resp(server.redis) as client:
        client.socket.sendall(rubbish[1])
        suite.check(client.ends(), "a browser that posts is cut off while it waits")
    with Resp(server.redis) as client:
        client.socket.sendall(b"PING\r\n*1\r\n$1000000000\r\n")
        suite.equal(client.answer(), "PONG", "what came before is answered")
        try:
            client.answer()
            suite.check(False, "a word without measure is an error")
        except Wrong as error:
            suite.equal(str(error), "ERR Protocol error: invalid bulk length", "its words")
        suite.check(client.ends(), "and the end")
    for bad in ("0", "abc", "-1", "99999999999999999999"):
        with Resp(server.redis) as client:
            answers = client.many([("SETEX", "bad:1", bad, "x"), ("PING",)])
            suite.check(isinstance(answers[0], Wrong), f"SETEX {bad} is refused")
            suite.equal(answers[1], "PONG", "and the conversation goes on")
    serves(suite, server, "after garbage")


def places(suite, server, clients):
    """As many idle clients as there are places; one more is told so; who is there is served."""
    before = memory(server)
    with Resp(server.redis) as early:
        idle = [Resp(server.redis) for _ in range(clients - 1)]
        until(lambda: figure(server, "connections") == clients, "all of them are connected")
        took = memory(server) - before
        print(f"{clients} idle clients take {took / clients / 1024:.1f} KiB each")
        suite.check(took < 256 * MIB, f"{clients} idle clients take {took // MIB} MiB")
        for _ in range(50):
            with Resp(server.redis) as late:
                try:
                    late.answer()
                    suite.check(False, "there was a place")
                except Wrong as error:
                    suite.equal(str(error), "ERR max number of clients reached", "Redis's words")
                suite.check(late.ends(), "and the end")
        suite.equal(early.call("PING"), "PONG", "who is there is served")
        suite.equal(idle[-1].call("SET", "last:1", "x", "EX", 600), "OK", "so is the last")
        with server.client() as http:
            suite.equal(http.get("/readyz").status, 200, "and HTTP")
            suite.equal(http.schedule("orders", "crowd", after="1h").status, 201, "a schedule")
        suite.check(figure(server, "refused_total") >= 50, "they were counted")
        for client in idle:
            client.close()
    until(lambda: figure(server, "connections") == 0, "all of them have gone")
    serves(suite, server, "after the crowd")


def worst(server, work, meanwhile=lambda: None, every=0.02):
    """The most that the server holds beyond what it did before, while this is done, in bytes."""
    before = memory(server)
    peak, over = [before], threading.Event()

    def watch():
        while not over.wait(every):
            peak.append(memory(server))
            meanwhile()

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        work()
    finally:
        over.set()
        watching.join()
    return max(peak) - before


def greed(suite, server):
    """Small requests with large answers, by the thousand, of clients that read nothing."""
    with Resp(server.redis) as sets:
        for start in range(0, 20_000, 4_000):
            keys = [f"greed:{'k' * 300}{number}" for number in range(start, start + 4_000)]
            answers = sets.many([("SET", key, "x", "EX", 3600) for key in keys])
            suite.equal(answers.count("OK"), 4_000, "all are set")
        suite.equal(sets.call("SET", "wide:1", "x" * 65_536, "EX", 3600), "OK", "a large one")
    for name, first, line in (
        ("SCAN", b"", b"SCAN 0\r\n"),
        ("COMMAND", b"DBSIZE\r\n", b"COMMAND\r\n"),
        ("INFO", b"", b"INFO\r\n"),
        ("DULY.STATS", b"", b"DULY.STATS\r\n"),
        ("GET", b"", b"GET wide:1\r\n"),
        ("DULY.GET", b"", b"DULY.GET wide 1\r\n"),
        ("SET GET", b"", b"SET wide:2 x EX 60 GET\r\nGET wide:1\r\n"),
    ):
        clients = [Resp(server.redis, receive_buffer=4096) for _ in range(10)]

        def ask():
            for client in clients:
                client.socket.setblocking(False)
                try:
                    client.socket.send(first + line * 20_000)
                except BlockingIOError:
                    pass
            for _ in range(8):
                time.sleep(0.25)
                serves(suite, server, f"while {name} is asked")

        took = worst(server, ask)
        print(f"10 clients that ask {name} take {took / MIB:.0f} MiB")
        suite.check(took < 128 * MIB, f"{name}: the server grew by {took // MIB} MiB")
        for client in clients:
            client.close()


def leftovers(suite, server):
    """Clients that have sent a long request and then half of the next: it is not kept for them."""
    word = "x" * (1 << 20)
    clients = []

    def ask():
        for _ in range(12):
            client = Resp(server.redis)
            try:
                client.call("MGET", *[word] * 15)
                suite.check(False, "no key is so long")
            except Wrong as error:
                suite.equal(str(error), "ERR a key has 1 to 512 bytes", "it is refused")
            client.socket.sendall(b"*")
            clients.append(client)
        # What is asked afterwards is asked of a server that has dealt with them.
        serves(suite, server, "after long requests")

    before = memory(server)
    worst(server, ask)
    kept = memory(server) - before
    print(f"12 clients in the middle of a request after a long one take {kept / MIB:.0f} MiB")
    suite.check(kept < 96 * MIB, f"the server keeps {kept // MIB} MiB")
    for client in clients:
        client.close()


def echoes(suite, server):
    """A subscriber that makes a thousand messages of each lapse, and reads none."""
    with Resp(server.redis, receive_buffer=4096) as deaf, Resp(server.redis) as sets:
        patterns = ["*" + "".join(rest) for rest in itertools.product("*?", repeat=10)]
        deaf.send("PSUBSCRIBE", *patterns[:900])
        deaf.answer()

        def lapse():
            answers = sets.many([("PSETEX", f"echo:{'x' * 400}{n}", 1, "x") for n in range(3_000)])
            suite.equal(answers.count("OK"), 3_000, "all are set")
            for _ in range(8):
                time.sleep(0.25)
                serves(suite, server, "while nobody listens")

        took = worst(server, lapse)
        print(f"a subscriber that multiplies takes {took / MIB:.0f} MiB")
        suite.check(took < 96 * MIB, f"the server grew by {took // MIB} MiB")


def together(suite, server):
    """Those that the server lets go of only when its patience is at an end."""
    halves = []

    def all_of_them():
        halves.extend(half_requests(server))
        greedy = [*never_read(server, "SETEX"), *never_read(server, "GET")]
        deaf = never_listens(suite, server)
        # Whoever reads before it is cut off is no such client any longer.
        slow = len(greedy) + len(deaf)
        until(lambda: figure(server, 'cut_total{why="slow"}') >= slow, "all of them are cut off", CUT)
        for name, clients in (("half a request", halves), ("a pipeline", greedy), ("deaf", deaf)):
            ended = [client for client in clients if hung_up(client)]
            suite.equal(len(ended), len(clients), f"{name}: all were let go of")

    grown = worst(server, all_of_them, meanwhile=lambda: serves(suite, server, "meanwhile"), every=0.1)
    print(f"hostile clients took {grown / MIB:.0f} MiB at most")
    suite.check(grown < 256 * MIB, f"the server grew by {grown // MIB} MiB")
    unfinished = figure(server, 'cut_total{why="unfinished"}')
    suite.check(unfinished >= len(halves), f"{unfinished} cut in the middle of a request")
    serves(suite, server, "afterwards")


def hung_up(client):
    """Whether the server has let go of a client, within its patience."""
    client.socket.settimeout(CUT)
    ended = client.ends()
    client.close()
    return ended


def half_requests(server):
    """Clients that begin a request, short or long, and say no more."""
    halves = []
    for beginning in (b"*3\r\n$3\r\nSET\r\n$5\r\nhal", b"*", b"SET half", b"PING\r\n*1\r\n$4\r\nPIN"):
        for _ in range(10):
            client = Resp(server.redis)
            client.socket.sendall(beginning)
            halves.append(client)
    long = request("DEL", *(f"long:{n}:{'x' * 200}" for n in range(60_000)))
    # There are places for eight of these at once; the others wait for one.
    for _ in range(10):
        client = Resp(server.redis)
        client.socket.setblocking(False)
        try:
            client.socket.sendall(long[:-100])
        except BlockingIOError:
            pass
        client.socket.setblocking(True)
        halves.append(client)
    return halves


def never_read(server, command):
    """Clients that send a million requests, as fast as they are taken, and never read an answer."""
    with Resp(server.redis) as client:
        client.call("SET", "large:1", "x" * 60_000, "EX", 3600)
    words = ("GET", "large:1") if command == "GET" else ("SETEX", "greedy:1", 3600, "x")
    piece = request(*words) * 1_000
    clients = [Resp(server.redis, receive_buffer=4096) for _ in range(3)]

    def send(client):
        client.socket.settimeout(5)
        try:
            for _ in range(1_000):
                client.socket.sendall(piece)
        except OSError:
            pass

    for client in clients:
        threading.Thread(target=send, args=(client,), daemon=True).start()
    return clients


def never_listens(suite, server):
    """Subscribers that never read, beside one that does: it hears of every lapse, the others end."""
    deaf = []
    for _ in range(3):
        client = Resp(server.redis, receive_buffer=4096)
        client.send("SUBSCRIBE", "__keyevent@0__:expired")
        deaf.append(client)
    lapses, name = 20_000, "x" * 400
    with Resp(server.redis) as hears, Resp(server.redis) as sets:
        hears.call("SUBSCRIBE", "__keyevent@0__:expired")
        heard = []
        listening = threading.Thread(
            target=lambda: heard.extend(hears.answer()[2] for _ in range(lapses)), daemon=True
        )
        listening.start()
        for start in range(0, lapses, 5_000):
            keys = [f"deaf:{number}:{name}" for number in range(start, start + 5_000)]
            answers = sets.many([("PSETEX", key, 100, "x") for key in keys])
            suite.equal(answers.count("OK"), 5_000, "all are set")
        listening.join(120)
        suite.equal(len(set(heard)), lapses, "who listens hears of every lapse")
    return deaf


def idle(suite):
    """Where silence is bounded: who is silent is let go of, who is subscribed is not."""
    server = suite.server(
        data="idle", redis=True,
        config="[journal]\nsegment_size = '1MiB'\n[redis]\nidle = '2s'\n",
    )
    with Resp(server.redis) as silent, Resp(server.redis) as listens, Resp(server.redis) as talks, \
            Resp(server.redis) as waits, server.client() as http:
        http.queue("idle-work", target="pull")
        waits.send("BZPOPMIN", "idle-work", 0)
        listens.call("SUBSCRIBE", "__keyevent@0__:expired")
        for _ in range(8):
            time.sleep(0.5)
            suite.equal(talks.call("PING"), "PONG", "who talks is not idle")
        suite.check(silent.ends(), "who is silent is let go of")
        talks.call("PSETEX", "idle:1", 50, "x")
        suite.equal(listens.answer()[2], b"idle:1", "who is subscribed is never idle")
        talks.call("PSETEX", "idle-work:1", 50, "x")
        suite.equal(waits.answer()[1], b"1", "who waits is never idle")
        suite.equal(figure(server, 'cut_total{why="idle"}'), 1, "it was counted")
    server.stop()


def hang_ups(suite, server):
    """Workers that hang up while they wait: what lapses then is for the one who is there."""
    with server.client() as http:
        http.queue("hung", target="pull")
    gone = [Resp(server.redis) for _ in range(50)]
    for number, client in enumerate(gone):
        words = ("DULY.LEASE", "hung", "WAIT", "60s") if number % 2 else ("BZPOPMIN", "hung", 0)
        client.send(*words)
    with server.client() as http:
        # Who waits is seen by what the connections have sent; then half of them say goodbye, and
        # half of them just go.
        until(lambda: figure(server, 'commands_total{command="bzpopmin"}') >= 25, "they wait")
        until(lambda: figure(server, 'commands_total{command="duly.lease"}') >= 25, "all do")
        before = figure(server, "connections")
        for number, client in enumerate(gone):
            if number % 3 == 0:
                client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()
        until(lambda: figure(server, "connections") <= before - 50, "the server has seen it")
        with Resp(server.redis) as sets:
            answers = sets.many([("PSETEX", f"hung:{n}", 1, "x") for n in range(50)])
            suite.equal(answers.count("OK"), 50, "fifty deadlines")
            keys = set()
            while len(keys) < 50:
                _, leased = sets.call("DULY.LEASE", "hung", "MAX", 50, "WAIT", "5s")
                if not suite.check(leased, f"nobody who has gone has any: {len(keys)} found"):
                    break
                for delivery in leased:
                    fields = dict(zip(delivery[::2], delivery[1::2]))
                    keys.add(fields[b"key"])
                    suite.equal(fields[b"attempt"], 1, "it is the first attempt")


def behind(suite):
    """A subscriber that falls behind what is kept is let go of at once."""
    server = suite.server(
        data="behind", redis=True,
        config="[journal]\nsegment_size = '1MiB'\n[events]\nkeep = '64KiB'\n",
    )
    with Resp(server.redis, receive_buffer=4096) as deaf, Resp(server.redis) as sets:
        deaf.send("PSUBSCRIBE", "*")
        deaf.answer()
        name = "x" * 400
        for start in range(0, 40_000, 4_000):
            sets.many([("PSETEX", f"far:{n}:{name}", 1, "x") for n in range(start, start + 4_000)])
            if figure(server, 'cut_total{why="slow"}'):
                break
        until(lambda: figure(server, 'cut_total{why="slow"}') == 1, "it is let go of")
        suite.check(deaf.ends(), "it sees that it was")
    server.stop()


def stopping(suite, server):
    """The server stops in order whatever its clients are doing."""
    with Resp(server.redis) as half, Resp(server.redis) as listens, Resp(server.redis) as silent:
        half.socket.sendall(b"*2\r\n$3\r\nGET\r\n$100\r\nx")
        listens.call("SUBSCRIBE", "__keyevent@0__:expired")
        silent.call("PING")
        with Resp(suite.path("duly.sock")) as local:
            suite.equal(local.call("PING"), "PONG", "the Unix socket serves")
        began = time.monotonic()
        suite.equal(server.stop(), 0, "it ends with 0")
        suite.check(time.monotonic() - began < 15, "and at once")
        for client in (half, listens, silent):
            suite.check(client.ends(), "everybody sees it")
    server.start()
    with Resp(suite.path("duly.sock")) as local:
        suite.equal(local.call("GET", "last:1"), b"x", "and what was set is there")
    server.kill()
    server.start()
    with Resp(suite.path("duly.sock")) as local:
        suite.equal(local.call("GET", "last:1"), b"x", "a socket left behind is taken away")


if __name__ == "__main__":
    main()
