#!/usr/bin/env python3
"""A disk that fails and a disk that is full.

Promise 2: a failed write or sync of the journal ends the process with status 74, the request that met
it is not acknowledged, and everything acknowledged before is there after a restart. The failure is
put under the built binary with `strace`, at a different call each time.

Promise 10: on a disk that is nearly full schedules are refused with `storage_low`, while settles
still work, until there is room again. The disk is a small file system in memory.
"""

import http.client
import os
import shutil
import subprocess

from blackbox import Suite, now_ms, rfc3339, until

SMALL = {"DULY_JOURNAL_SEGMENT_SIZE": "1MiB"}
FAULTS = [
    ("fdatasync", "EIO", 2),
    ("fdatasync", "EIO", 15),
    ("fdatasync", "ENOSPC", 40),
    ("pwrite64,pwritev,write,writev", "EIO", 3),
    ("pwrite64,pwritev,write,writev", "ENOSPC", 30),
]


def main():
    with Suite("disk", floor=200) as suite:
        for number, (calls, error, when) in enumerate(FAULTS):
            failing(suite, f"failing{number}", calls, error, when)
        full(suite)


def failing(suite, name, calls, error, when):
    """The n-th of these calls on the journal's present segment fails, and every one after it."""
    what = f"{error} at the {when}. {calls.split(',')[0]}"
    server = suite.server(data=name, env=SMALL)
    server.stop()
    server.start()
    with server.client() as client:
        client.queue("orders", target="none")
    segment = max(entry for entry in os.listdir(f"{server.data}/journal") if entry.endswith(".seg"))
    tracer = subprocess.Popen(
        [
            "strace", "-f", "-qq", "-o", "/dev/null", "-P", f"{server.data}/journal/{segment}",
            "-e", f"trace={calls}", "-e", f"inject={calls}:error={error}:when={when}+",
            "-p", str(server.process.pid),
        ],
        stderr=subprocess.DEVNULL,
    )
    traced = f"/proc/{server.process.pid}/status"
    until(lambda: f"TracerPid:\t{tracer.pid}" in open(traced, encoding="ascii").read(), "strace")
    due = rfc3339(now_ms() + 3_600_000)
    kept = []
    try:
        with server.client(timeout=20) as client:
            for number in range(10 * when + 100):
                key = f"k{number}"
                reply = client.schedule("orders", key, due=due, payload={"order": number})
                if reply.status == 201:
                    kept.append(key)
                else:
                    suite.check(reply.status >= 500, f"{what}: {reply!r}")
    except (OSError, http.client.HTTPException):
        pass
    status = server.process.wait(30)
    tracer.wait(30)
    suite.equal(status, 74, f"{what}: exit status")
    suite.check("Traceback" not in server.said() and "panicked" not in server.said(), f"{what}: panic")
    # The start of one step may share the sync of the one before: at least about so many got through.
    suite.check(len(kept) < 10 * when + 100, f"{what}: it was never met")
    server.start()
    with server.client() as client:
        for key in kept:
            record = client.read("orders", key)
            suite.check(record and record["due"] == due, f"{what}: acknowledged {key} is {record}")
    print(f"{what}: ended with {status}, {len(kept)} acknowledged and kept")
    server.stop()


def full(suite):
    """Fills a small disk with deadlines, and settles them on it."""
    disk = suite.path("full")
    os.mkdir(disk)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16m", "duly-test", disk], check=False, stderr=subprocess.DEVNULL
    )
    if mounted.returncode != 0:
        print("NOT CHECKED: a full disk (this user may not mount a file system)")
        return
    try:
        server = suite.server(data="full/data", env=SMALL)
        with server.client() as client:
            client.queue("orders", target="none")
            filler = os.path.join(disk, "filler")
            kept = []
            for number in range(20_000):
                if number == 50:
                    fill(filler)
                key = f"k{number}"
                reply = client.schedule("orders", key, after="1h", payload="x" * 16_000)
                if reply.status != 201:
                    break
                kept.append(key)
            print(f"full: {len(kept)} scheduled before the disk was nearly full")
            suite.equal((reply.status, reply["code"]), (503, "storage_low"), "a schedule")
            extend = client.act("orders", kept[0], "extend", by="1h")
            suite.equal((extend.status, extend["code"]), (503, "storage_low"), "an extend")
            suite.equal(client.get("/healthz").status, 200, "alive")
            for key in kept[:100]:
                reply = client.act("orders", key, "settle", outcome="paid")
                suite.equal(reply["result"], "settled", f"a settle on a nearly full disk: {reply!r}")
            os.unlink(filler)
            again = lambda: client.schedule("orders", "again", after="1h").status in (200, 201)
            until(again, "schedules are taken again when there is room")
        server.kill()
        server.start()
        with server.client() as client:
            for key in kept[:100]:
                suite.equal(client.read("orders", key)["state"], "settled", f"{key} after a kill")
            for key in kept[100:]:
                suite.equal(client.read("orders", key)["state"], "pending", f"{key} after a kill")
        server.stop()
    finally:
        subprocess.run(["umount", "--lazy", disk], check=False)
        shutil.rmtree(disk, ignore_errors=True)


def fill(path):
    """Takes what room there is."""
    with open(path, "wb", buffering=0) as out:
        try:
            while True:
                out.write(b"\0" * 65_536)
        except OSError:
            pass


if __name__ == "__main__":
    main()
