"""What the kernel knows: processor time, memory and bytes of processes, how busy the disk was, what a sync takes.

Processor time comes in ticks of 10 ms, so it says something about runs of a second and more.
"""

import os
import pathlib
import statistics
import subprocess
import time

TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
CORES = os.cpu_count()
# Where a kernel tells the fields of /proc/PID/stat: counted from the state, which follows the name.
PARENT, USER, RESIDENT = 1, 11, 21


def processes():
    """All processes: their number, and the fields of `stat` from the state on."""
    found = {}
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            try:
                text = pathlib.Path(entry.path, "stat").read_text()
            except OSError:
                continue
            found[int(entry.name)] = text.rsplit(")", 1)[1].split()
    return found


def tree(root):
    """A process and all that descend from it, with their fields."""
    everybody = processes()
    ours, fresh = {}, [root]
    while fresh:
        number = fresh.pop()
        if number in everybody and number not in ours:
            ours[number] = everybody[number]
            fresh += [child for child, fields in everybody.items() if int(fields[PARENT]) == number]
    return ours


def processor_seconds(root):
    """User and system time of a tree of processes so far, with that of its members that have ended."""
    ticks = sum(sum(map(int, fields[USER:USER + 4])) for fields in tree(root).values())
    return ticks / TICKS


def threads(root):
    """Processor time of each thread of a tree of processes so far: by process, thread and name."""
    spent = {}
    for process in tree(root):
        try:
            for thread in os.listdir(f"/proc/{process}/task"):
                head, fields = pathlib.Path(f"/proc/{process}/task/{thread}/stat").read_text().rsplit(")", 1)
                fields = fields.split()
                spent[process, thread, head.split("(", 1)[1]] = (int(fields[USER]) + int(fields[USER + 1])) / TICKS
        except OSError:
            # It has ended since it was listed.
            continue
    return spent


def resident_bytes(root):
    """Memory of a tree of processes in RAM."""
    return sum(int(fields[RESIDENT]) * PAGE for fields in tree(root).values())


def machine_seconds():
    """Processor time that the machine has spent on anything so far."""
    fields = [int(field) for field in pathlib.Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    return (sum(fields) - fields[3] - fields[4]) / TICKS


def disk_busy_seconds(folder):
    """For how long the disk under a folder had something to do so far; None where nobody counts."""
    device = os.stat(folder).st_dev
    for line in pathlib.Path("/proc/diskstats").read_text().splitlines():
        fields = line.split()
        if (int(fields[0]), int(fields[1])) == (os.major(device), os.minor(device)):
            return int(fields[12]) / 1e3
    return None


def disk_bytes(folder):
    """What the files below a folder take on the disk."""
    total = 0
    for at, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(at, name)).st_blocks * 512
            except FileNotFoundError:
                continue
    return total


def sync_ms(folder, syncs=200):
    """What a sync takes while nobody else of ours uses the disk: the median, and 99 of 100."""
    path, times = os.path.join(folder, "sync"), []
    with open(path, "wb", buffering=0) as file:
        file.write(bytes(256 * syncs))
        os.fsync(file.fileno())
        end = time.monotonic() + 2
        for turn in range(syncs):
            os.pwrite(file.fileno(), b"d" * 256, turn * 256)
            begun = time.perf_counter()
            os.fdatasync(file.fileno())
            times.append((time.perf_counter() - begun) * 1e3)
            if time.monotonic() > end:
                break
    os.remove(path)
    return {"p50": round(statistics.median(times), 3), "p99": round(sorted(times)[len(times) * 99 // 100 - 1], 3)}


def load():
    """The load of the last minute."""
    return round(os.getloadavg()[0], 2)


def described(folder):
    """The machine in a few words."""
    models = [line.split(": ", 1)[1] for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines()
              if line.startswith("model name")]
    kind = subprocess.run(["findmnt", "-no", "FSTYPE", "-T", folder], capture_output=True, text=True)
    memory = os.sysconf("SC_PHYS_PAGES") * PAGE
    return {
        "processors": CORES,
        "processor": models[0] if models else "unknown",
        "memory_gib": round(memory / 2**30, 1),
        "kernel": os.uname().release,
        "filesystem": kind.stdout.strip() or "unknown",
    }
