"""One measurement: a fresh server on an empty directory, one work, and everything taken away again."""

import csv
import json
import pathlib
import resource
import shutil
import subprocess
import tempfile
import threading
import time

from bench import machine

LONGEST = 400.0
"""A generator that is not done after so many seconds never will be."""
HERE = pathlib.Path(__file__).resolve().parent


def measure(rival, work, asked, tools):
    """The figures of one cell."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix=f"{rival.name}-", dir=tools.folder))
    server = None
    try:
        folder.chmod(0o755)
        server = rival.start(folder)
        # What a first start leaves to be done (Duly fills its reserve with zeros) is not part of any work.
        server.rested(10.0)
        if work.kind == "pending":
            return pending(rival, server, asked, tools)
        if work.kind == "setex":
            return benchmarked(server, asked)
        return worked(rival, server, work.kind, asked, tools)
    finally:
        if server is not None:
            server.kill()
            getattr(server, "removed", lambda: None)()
        shutil.rmtree(folder, ignore_errors=True)


def command(rival, server, kind, asked, tools):
    """How the generator is called."""
    tool, dialect = rival.generator
    if tool == "load":
        words = [tools.load, "load", dialect, kind, f"127.0.0.1:{server.port}"]
        for name, value in asked.items():
            words += [f"--{name.replace('_', '-')}", str(value)]
        return words
    told = {**asked, "port": server.port, "socket": str(getattr(server, "socket", "")),
            "packages": str(tools.rivals / "node") + "/"}
    return ["node", "--max-old-space-size=4096", HERE / "node/load.mjs", dialect, kind, json.dumps(told)]


class Moment:
    """What had been spent at one moment."""

    def __init__(self, server):
        self.written, self.journal = server.written(), server.journal()
        self.at = time.monotonic()
        self.server = machine.processor_seconds(server.process.pid)
        self.machine = machine.machine_seconds()
        self.disk = machine.disk_busy_seconds(server.folder)
        self.threads = machine.threads(server.process.pid)


def worked(rival, server, kind, asked, tools):
    """Lets the generator work, and reads what that cost."""
    complaint = tempfile.TemporaryFile("w+")
    words = [str(word) for word in command(rival, server, kind, asked, tools)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=complaint, text=True) as generator:
        end = threading.Timer(LONGEST, generator.kill)
        end.start()
        try:
            begun = generator.stdout.readline()
            if kind == "settle":
                # What the filling left to be done is not part of it.
                server.rested(10.0)
            before = Moment(server)
            if begun.strip() == "begin":
                generator.stdin.write("\n")
                generator.stdin.flush()
                told = generator.stdout.readline()
                after = Moment(server)
            generator.wait()
        except BaseException:
            generator.kill()
            raise
        finally:
            end.cancel()
    if generator.returncode != 0 or begun.strip() != "begin" or not told.startswith("{"):
        complaint.seek(0)
        lines = [line for line in complaint.read().splitlines() if line.strip()]
        error = next((line for line in lines if "Error" in line or "BROKEN" in line), lines[-1] if lines else "it ended")
        raise RuntimeError(error.removeprefix("BROKEN: "))
    return figures(json.loads(told), before, after, server)


def figures(told, before, after, server):
    """What is kept of it, with what the server does until it rests."""
    rested = server.rested()
    written = {"disk_bytes": server.written() - before.written}
    if before.journal is not None:
        written["journal_bytes"] = server.journal() - before.journal
    count, wall = told["operations"], after.at - before.at
    everything = wall * machine.CORES
    spent, generator = after.server - before.server, told["generator_seconds"]
    others = max(0.0, after.machine - before.machine - spent - generator)
    busiest = max((now - before.threads.get(who, 0.0), who[2]) for who, now in after.threads.items())
    shares = {
        "server": spent / everything, "generator": generator / everything, "others": others / everything,
        "busiest_thread": busiest[0] / wall, "busiest_thread_name": busiest[1],
        "disk": None if before.disk is None else (after.disk - before.disk) / wall,
    }
    return {
        "operations": count,
        "seconds": round(told["seconds"], 4),
        "rate": round(count / told["seconds"], 1),
        "server_us": round((rested - before.server) / count * 1e6, 3),
        "generator_us": round(generator / count * 1e6, 3),
        **{name: round(bytes / count, 1) for name, bytes in written.items()},
        **{name: told[name] for name in ("latency", "late", "done") if told.get(name)},
        **{name: told[name] for name in ("early", "again") if told.get(name)},
        "shares": {name: round(share, 3) if isinstance(share, float) else share for name, share in shares.items()},
        "held_up_by": held_up_by(shares, generator / wall),
    }


def held_up_by(shares, generator):
    """Who was the bottleneck."""
    users = {"the server": shares["server"], "the client": shares["generator"], "others": shares["others"]}
    if sum(users.values()) >= 0.85:
        return f"processors, most of them {max(users, key=users.get)}"
    if generator >= 0.9:
        return "the client"
    if shares["busiest_thread"] >= 0.9:
        return f"one thread of the server ({shares['busiest_thread_name']})"
    if shares["disk"] is not None and shares["disk"] >= 0.5:
        return "the disk"
    return "hand-overs"


def benchmarked(server, asked):
    """What a shop sends to Redis today, from the program that comes with Redis."""
    words = ["redis-benchmark", "-p", server.port, "-c", asked["connections"], "-P", asked["depth"], "-n", asked["count"],
             "-r", 100_000, "--csv", "SETEX", "orders:__rand_int__", 1800, "x" * 200]
    before, spent = Moment(server), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=True, timeout=LONGEST)
    after, now = Moment(server), resource.getrusage(resource.RUSAGE_CHILDREN)
    if (carried_out := server.carried_out()) < asked["count"]:
        raise RuntimeError(f"{carried_out} of {asked['count']} commands were carried out: {done.stderr or done.stdout}")
    names, values = [row for row in csv.reader(done.stdout.splitlines()) if row][-2:]
    row = {name: float(value) for name, value in zip(names[1:], values[1:])}
    told = {
        "operations": asked["count"], "seconds": asked["count"] / row["rps"],
        "generator_seconds": now.ru_utime + now.ru_stime - spent.ru_utime - spent.ru_stime,
        "latency": {name: row[f"{name.removesuffix('_ms')}_latency_ms"] for name in ("p50_ms", "p99_ms", "max_ms")},
    }
    return figures(told, before, after, server)


def pending(rival, server, asked, tools):
    """Fills a server, kills it, and starts it again."""
    empty = machine.resident_bytes(server.process.pid)
    filled = worked(rival, server, "schedule", asked, tools)
    count = filled["operations"]
    memory = machine.resident_bytes(server.process.pid)
    server.kill()
    server.start()
    there = server.pending()
    # What made the server warm may be there, too.
    if there < count:
        raise RuntimeError(f"{count - there} of {count} that were acknowledged are gone after kill -9")
    kept = ("operations", "seconds", "rate", "server_us", "generator_us", "disk_bytes", "held_up_by")
    found = {name: filled[name] for name in kept} | {"restart_seconds": round(server.seconds_to_ready, 3)}
    if rival.memory:
        found["memory_bytes"] = round((memory - empty) / count, 1)
    return found
