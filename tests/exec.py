#!/usr/bin/env python3
"""The `exec` target from outside: what a command is given, what its end means, and what it cannot do.

Every command is a small script that the suite writes. One of them, the witness, writes down what it
was given, byte for byte, so that nothing has to be taken on trust: 200 and more hostile strings go
through keys and payloads, and a file that any of them would create must never appear. Other scripts
hang, fork, ignore signals, write without end and leave children behind; afterwards no process of
theirs may be there. The last is the wish this server was made for: a PHP script that cancels an unpaid
order when its time is over, as docs/deliveries.md has it.
"""

import json
import os
import re
import signal
import sqlite3
import stat
import subprocess
import sys
import textwrap
import time
import urllib.parse

from blackbox import Suite, until

NOBODY = "nobody"
IS_ROOT = os.geteuid() == 0
# One that also nobody may run; a virtual environment may lie in somebody's home.
PYTHON = next(filter(os.path.exists, ["/usr/bin/python3", os.path.realpath(sys.executable)]))
PROGRAMS = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

WITNESS = """
    import json, os, resource, sys
    here = {
        "argv": [os.fsencode(word).hex() for word in sys.argv[1:]],
        "environment": open("/proc/self/environ", "rb").read().hex(),
        "input": sys.stdin.buffer.read().hex(),
        "cwd": os.getcwd(),
        "is_leader": os.getpgrp() == os.getpid(),
        "uid": os.getresuid(), "gid": os.getresgid(), "groups": os.getgroups(),
        "status": open("/proc/self/status").read(),
        "open": [fd for fd in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{fd}")],
        "limits": {name: resource.getrlimit(getattr(resource, f"RLIMIT_{name}"))
                   for name in ("CPU", "AS", "NOFILE", "NPROC", "CORE")},
    }
    name = f"{os.environ['OUT']}/{os.environ['DULY_DELIVERY_ID']}-{os.environ['DULY_ATTEMPT']}"
    with open(name + ".part", "w") as out:
        json.dump(here, out)
    os.rename(name + ".part", name)
"""

SCRIPTS = {
    "exit.sh": 'echo "order $DULY_KEY is so" >&2\nexit $1\n',
    "killed.sh": "kill -$1 $$\n",
    "words.sh": "echo 'PHP Fatal error: on the wrong output'\nexit 1\n",
    # A child and a grandchild; only the last one can be told to end by a kind word.
    "hang.sh": """
        (trap '' TERM; echo $$ > "$OUT/hang-1"; sh -c 'echo $$ > "$OUT/hang-2"; sleep 1000' & sleep 1000) &
        echo $! > "$OUT/hang-3"
        sleep 1000
    """,
    "deaf.sh": """
        trap '' TERM
        echo $$ > "$OUT/deaf"
        while :; do sleep 0.1; done
    """,
    "sorry.sh": "trap 'exit 0' TERM\nwhile :; do sleep 0.05; done\n",
    "leaves.sh": 'sleep 1000 &\necho $! > "$OUT/leaves"\n',
    "escapes.sh": "setsid sh -c 'echo $$ > \"$OUT/escapes\"; exec sleep 1000' &\n"
                  'until [ -s "$OUT/escapes" ]; do sleep 0.01; done\n',
    "flood.sh": "head -c 1073741824 /dev/zero &\nhead -c 1073741824 /dev/zero | tr '\\0' 'e' >&2\n"
                "wait\nexit 3\n",
    "endless.sh": "yes\n",
    "slow.sh": 'echo $$ >> "$OUT/slow-$DULY_KEY"\nsleep $1\n'
               'echo "$DULY_DELIVERY_ID $DULY_ATTEMPT" >> "$OUT/slow-done-$DULY_KEY"\n',
    "busy.sh": "while :; do :; done\n",
}

BOMB = """
    import os, sys, time
    born = 0
    for _ in range(200):
        try:
            if os.fork() == 0:
                time.sleep(100)
                os._exit(0)
        except BlockingIOError:
            break
        born += 1
    print(f"{born} were born", file=sys.stderr)
    sys.exit(1)
"""

HUNGRY = """
    import sys
    try:
        bytearray(1 << 30)
    except MemoryError:
        print("no memory", file=sys.stderr)
        sys.exit(1)
"""

PAGE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "docs", "deliveries.md")


def main():
    with Suite("exec", floor=2_400) as suite:
        place = Place(suite)
        with_descriptor(suite, place)
        server = suite.server(config=place.configuration(), env={"CANARY": "must not be seen"})
        with server.client() as client:
            place.queues(client)
            every_status(suite, client)
            ends(suite, client)
            surroundings(suite, place, client)
            hostile(suite, place, client)
            hanging(suite, place, client)
            floods(suite, server, client)
            bounded(suite, place, client)
            missing(suite, server, client)
            names_only(suite, client)
            php(suite, place, client)
            descriptors(suite, server)
            no_zombies(suite, server)
        stopped(suite, place, server)
        killed(suite, place, server)
        bad_settings(suite, place)


class Place:
    """The suite's scripts, and what they write."""

    def __init__(self, suite):
        self.suite = suite
        self.out = suite.path("out")
        os.mkdir(self.out)
        # Commands run as nobody write there, too.
        os.chmod(suite.directory, 0o755)
        os.chmod(self.out, 0o777)
        for name, text in SCRIPTS.items():
            self.write(name, textwrap.dedent(text))
        for name, text in (("witness.py", WITNESS), ("bomb.py", BOMB), ("hungry.py", HUNGRY)):
            self.write(name, textwrap.dedent(text))
        with open(PAGE, encoding="utf-8") as page:
            script = re.search(r"```php\n(<\?php\n// cancel\.php\n.*?)```", page.read(), re.DOTALL)
        self.write("cancel.php", script[1])
        self.write("plain.txt", "nobody may run this")
        self.sentinel = f"{self.out}/sentinel"

    def write(self, name, text):
        with open(self.suite.path(name), "w", encoding="utf-8") as file:
            file.write(text)
        return self.suite.path(name)

    def commands(self):
        """For each command: its settings."""
        path = self.suite.path
        sh = lambda name, *rest: ["/bin/sh", path(name), *rest]
        witness = [PYTHON, "-I", path("witness.py")]
        commands = {
            "exit": {"argv": sh("exit.sh", ":payload.code")},
            "killed": {"argv": sh("killed.sh", ":payload.signal")},
            "words": {"argv": sh("words.sh")},
            "plain": {"argv": [*witness, ":payload.text", "--key=:key", "x:payload.text;"]},
            "dashed": {"argv": [*witness, "--", ":key", ":payload.text"]},
            "somewhere": {"argv": witness, "cwd": self.out, "env": {"PATH": "/bin", "A": "b c"}},
            "hang": {"argv": sh("hang.sh"), "timeout": "1s"},
            "deaf": {"argv": sh("deaf.sh"), "timeout": "300ms"},
            "sorry": {"argv": sh("sorry.sh"), "timeout": "300ms"},
            "leaves": {"argv": sh("leaves.sh")},
            "escapes": {"argv": sh("escapes.sh")},
            "flood": {"argv": sh("flood.sh")},
            "endless": {"argv": sh("endless.sh"), "timeout": "2s"},
            "slow": {"argv": sh("slow.sh", ":payload.seconds"), "timeout": "9m"},
            "busy": {"argv": sh("busy.sh"), "limits": {"cpu": "1s"}},
            "hungry": {
                "argv": [PYTHON, path("hungry.py")], "limits": {"memory": "256MiB"},
            },
            "missing": {"argv": ["/nowhere/at/all"]},
            "text": {"argv": [path("plain.txt")]},
            "nowhere": {"argv": ["/bin/true"], "cwd": "/nowhere"},
            "cancel": {
                "argv": ["/usr/bin/php", path("cancel.php"), ":key", ":payload.total"],
                "env": {"SHOP_DSN": f"sqlite:{path('shop.db')}"},
            },
        }
        if IS_ROOT:
            commands["bound"] = {
                "argv": witness, "user": NOBODY,
                "limits": {"cpu": 7, "memory": "512MiB", "files": 33, "processes": 500},
            }
            commands["bomb"] = {
                "argv": [PYTHON, path("bomb.py")], "user": NOBODY,
                "limits": {"processes": 32},
            }
        for command in commands.values():
            command.setdefault("env", {})["OUT"] = self.out
        return commands

    def configuration(self, commands=None):
        """The whole file."""
        lines = []
        for name, settings in (commands or self.commands()).items():
            lines += [f"[exec.{name}]", *(f"{key} = {toml(value)}" for key, value in settings.items())]
        return "\n".join(lines) + "\n"

    def queues(self, client):
        """One queue a command; what fails is not tried again while the suite looks at it."""
        for name in self.commands():
            target = {"exec": {"command": name}}
            reply = client.queue(name, target=target, retry=["1h"])
            self.suite.equal(reply["queue"]["policy"]["target"], target, f"the target {name}")

    def pid(self, name):
        """A process id that a script has written down."""
        with open(f"{self.out}/{name}", encoding="utf-8") as file:
            return int(file.read().split()[0])

    def witnessed(self, record):
        """What the witness saw in the last attempt of a delivery."""
        delivery = record["delivery"]
        name = f"{self.out}/{delivery['id']}-{delivery['attempts']}"
        with open(name, encoding="utf-8") as file:
            return json.load(file)


def toml(value):
    """A value as TOML; JSON's strings and lists are TOML's."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {toml(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, str):
        value = value.replace("${", "$${")
    return json.dumps(value)


def is_control(char):
    return ord(char) < 32 or 127 <= ord(char) < 160


def quoted(key):
    return urllib.parse.quote(key, safe="")


def lapse(client, queue, key, payload=None):
    """Schedules a deadline whose time is over at once."""
    reply = client.schedule(queue, quoted(key), after="0s", payload=payload)
    assert reply.status == 201, f"schedule {queue}/{key}: {reply!r}"


def tried(client, queue, key):
    """The record, once an attempt has come to its end."""
    def ended():
        record = client.read(queue, quoted(key))
        delivery = (record or {}).get("delivery") or {}
        if delivery.get("state") in ("done", "superseded", "dead"):
            return record
        return record if delivery.get("last_error") and delivery["state"] == "ready" else None

    return until(ended, f"{queue}/{key} is tried")


def verdict_of(client, queue, key, payload=None):
    """The state of a delivery and its error, after one attempt."""
    lapse(client, queue, key, payload)
    delivery = tried(client, queue, key)["delivery"]
    return delivery["state"], delivery["last_error"]


def every_status(suite, client):
    """Each exit status there is."""
    for code in range(256):
        lapse(client, "exit", f"c{code}", {"code": code})
    for code in range(256):
        delivery = tried(client, "exit", f"c{code}")["delivery"]
        found = (delivery["state"], delivery["last_error"])
        wanted = {0: ("done", None), 99: ("superseded", None)}.get(
            code, ("ready", f"exit: exit ended with {code}: order c{code} is so")
        )
        suite.equal(found, wanted, f"exit status {code}")
        suite.equal(delivery["attempts"], 1, f"attempts of exit status {code}")


def ends(suite, client):
    """Signals, and words on the wrong output."""
    for number, name in ((9, "SIGKILL"), (11, "SIGSEGV"), (15, "SIGTERM"), (10, "a signal")):
        found = verdict_of(client, "killed", f"s{number}", {"signal": number})
        suite.equal(found, ("ready", f"killed: killed by {name}"), f"signal {number}")
    found = verdict_of(client, "words", "w")
    wanted = "exit: words ended with 1: PHP Fatal error: on the wrong output"
    suite.equal(found, ("ready", wanted), "words on standard output")


def surroundings(suite, place, client):
    """Environment, input, directory, descriptors, signals, privileges."""
    payload = {"total": "19.90", "n": [1, 2.50]}
    for queue, cwd, own in (
        ("plain", "/", {"PATH": PROGRAMS}),
        ("somewhere", place.out, {"PATH": "/bin", "A": "b c"}),
    ):
        lapse(client, queue, "env", {"text": "t", **payload})
        record = tried(client, queue, "env")
        suite.equal(record["delivery"]["state"], "done", f"{queue}: its state")
        seen = place.witnessed(record)
        environment = [entry for entry in bytes.fromhex(seen["environment"]).split(b"\0") if entry]
        event = json.loads(bytes.fromhex(seen["input"]))
        data = event["data"]
        wanted = {
            **own, "OUT": place.out, "DULY_DELIVERY_ID": record["delivery"]["id"],
            "DULY_QUEUE": queue, "DULY_KEY": "env", "DULY_ATTEMPT": "1",
            "DULY_DUE": record["due"], "DULY_LAPSED_AT": record["lapsed_at"],
        }
        wanted = sorted(f"{name}={value}".encode() for name, value in wanted.items())
        suite.equal(sorted(environment), wanted, f"{queue}: the whole environment")
        suite.equal(event["type"], "deadline.lapsed", f"{queue}: the event's type")
        suite.equal(event["timestamp"], record["lapsed_at"], f"{queue}: the event's time")
        suite.check(data.pop("late_ms") >= 0, f"{queue}: how late it is")
        suite.equal(data, {
            "queue": queue, "key": "env", "delivery_id": record["delivery"]["id"], "attempt": 1,
            "due": record["due"], "lapsed_at": record["lapsed_at"],
            "payload": {"text": "t", **payload},
        }, f"{queue}: the lapse")
        suite.check(b'"n": [1, 2.5' in bytes.fromhex(seen["input"]), "numbers are as they were written")
        suite.equal(seen["cwd"], cwd, f"{queue}: the directory")
        suite.equal(sorted(seen["open"]), ["0", "1", "2"], f"{queue}: open descriptors")
        suite.check(seen["is_leader"], f"{queue}: it leads its process group")
        status = dict(line.split(":\t", 1) for line in seen["status"].splitlines() if ":\t" in line)
        suite.equal(status["NoNewPrivs"], "1", f"{queue}: no new privileges")
        suite.equal(int(status["SigBlk"], 16), 0, f"{queue}: blocked signals")
        # Python itself ignores SIGPIPE and SIGXFSZ; 32 and 33 are the C library's own.
        ignored = int(status["SigIgn"], 16) & 0x7FFFFFFF & ~0x1001000
        suite.equal(ignored, 0, f"{queue}: ignored signals")
        suite.equal(seen["limits"]["CORE"], [0, 0], f"{queue}: no dumps")


def hostile_strings(place):
    """What an attacker would write into an order's number or a customer's note."""
    touch = f"touch {place.sentinel}"
    commands = [
        f"; {touch}", f"& {touch}", f"&& {touch}", f"| {touch}", f"|| {touch}", f"`{touch}`",
        f"$({touch})", f"\n{touch}\n", f"\r\n{touch}", f"' ; {touch} ; '", f'" ; {touch} ; "',
        f"'; {touch} #", f"> {place.sentinel}", f">> {place.sentinel}", f"<({touch})",
        f">({touch})", f"${{IFS}};{touch}", f"$((`{touch}`))", f"\\\n{touch}", f"%0a{touch}",
        f"%0a;{touch.replace(' ', '%20')}", f"\\x0a{touch}", f"\\n{touch}", f"\t;\t{touch}",
        f"*;{touch}", f"~;{touch}", f"{{{touch.replace(' ', ',')}}}", f"eval {touch}",
        f"<?php system('{touch}'); ?>", f"<?= `{touch}` ?>", f"__import__('os').system('{touch}')",
        f"() {{ :; }}; {touch}", f"!{touch}", f"#{{`{touch}`}}", f"%({touch})", f"@{place.sentinel}",
        f"file://{place.sentinel}", f"php://filter/write=x/resource={place.sentinel}",
    ]
    options = [
        "-", "--", "---", "-r", "-rsystem('id');", "--help", "--force", "-o /tmp/x", "--key=other",
        "-\n", "-0", "-1", "--payload.text", "-d auto_prepend_file=/etc/passwd", "-\u00e9", "-;", "-`id`",
    ]
    texts = [
        "", " ", "  two  spaces  ", "\t", "'", '"', "''", '""', "\\", "\\\\", "\\'", '\\"', "'\"'\"'",
        "$HOME", "${HOME}", "$0", "$@", "$$", "%s%n%x", "%00", "*", "?", "[a-z]*", "~", "~root", "!!", "#",
        ":key", ":payload.text", "::", ":", "a=b", "A=b", "\u2028", "\u202e gnp.exe", "\ufeff", "\u0085",
        "\u00a0", "\x7f", "\x1b[31mred\x1b[0m", "\x01\x02\x03", "\n", "\r", "\n\n\n", "a\nb", "line1\r\nline2",
        "\U0001f600\U0001f468\u200d\U0001f469\u200d\U0001f467", "\u4e2d\u6587", "e\u0301", "\u00df", "\U0010ffff",
        "..", "../../etc/passwd", "/etc/passwd", "a/b/c", ".", "a,b", "{a,b}", "(x)", "<x>", "[x]", "x|y", "a;b",
        "null", "true", "0", "-0.0e1"[1:], "1e309", "NaN", "{}", "[]", '{"a":1}', "' OR '1'='1", "1; DROP TABLE orders",
        "x" * 500, "\u00e9" * 250, "\U0001f600" * 120,
    ]
    wrapped = [form.format(command) for form in ("42{}", "{} 42", "'{}'", '"{}"')
               for command in (c.replace("{", "{{").replace("}", "}}") for c in commands)
               for command in (command.replace("{{", "{").replace("}}", "}"),)]
    long = ["y" * 65_000, "\u00e9" * 32_000, (f"; {touch} " * 3_000)[:65_000], "\n" * 32_000, "-" * 65_000]
    return [*commands, *options, *texts, *wrapped, *long]


def hostile(suite, place, client):
    """Nothing is run, split, expanded or taken for an option: it arrives byte for byte, or not at all."""
    strings = list(dict.fromkeys(hostile_strings(place)))
    suite.check(len(strings) >= 200, f"{len(strings)} hostile strings")
    is_key = lambda text: 0 < len(text.encode()) <= 512 and not any(map(is_control, text))
    asked = []
    for number, text in enumerate(strings):
        key = text if is_key(text) else f"n{number}"
        for queue in ("plain", "dashed"):
            if client.read(queue, quoted(key)) is not None:
                key = f"n{number}"
            # As UTF-8 and without escapes, so that the longest just fits.
            body = json.dumps({"after": "0s", "payload": {"text": text}}, ensure_ascii=False)
            reply = client.ask("PUT", f"/v1/queues/{queue}/deadlines/{quoted(key)}", body.encode())
            suite.equal(reply.status, 201, f"schedule {queue} {text[:80]!r}")
            asked.append((queue, key, text))
    suite.check(sum(key == text for _, key, text in asked) >= 200, "keys are hostile, too")
    for queue, key, text in asked:
        record = tried(client, queue, key)
        if queue == "plain" and text.startswith("-"):
            error = "argument: exec.plain.argv[3] would begin with '-' and could be taken for an option"
            found = (record["delivery"]["state"], record["delivery"]["last_error"])
            suite.equal(found, ("dead", error), f"an option {text[:80]!r}")
            continue
        if not suite.equal(record["delivery"]["state"], "done", f"{queue} {text[:80]!r}"):
            continue
        said = [bytes.fromhex(word) for word in place.witnessed(record)["argv"]]
        wanted = [text, f"--key={key}", f"x{text};"] if queue == "plain" else ["--", key, text]
        suite.check(said == [word.encode() for word in wanted], f"argv of {queue} {text[:80]!r}")
    for queue in ("plain", "dashed"):
        state, error = verdict_of(client, queue, "nul", {"text": "a\0b"})
        suite.equal(state, "dead", "a NUL character")
        suite.check("NUL" in (error or ""), f"it says so: {error}")
    state, _ = verdict_of(client, "plain", "none", {"other": 1})
    suite.equal(state, "done", "a field that is not there is an empty argument")
    suite.check(not os.path.exists(place.sentinel), "no sentinel file")


def alive(pid):
    """Whether a process runs; one that is dead and only waits to be taken away does not."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def hanging(suite, place, client):
    """What hangs is ended, with everything that it has started."""
    state, error = verdict_of(client, "hang", "h")
    suite.equal((state, error), ("ready", "timeout: hang took longer than 1s"), "a hanging script")
    for name in ("hang-1", "hang-2", "hang-3"):
        until(lambda: not alive(place.pid(name)), f"{name} is gone", patience=10)
        suite.check(True, f"{name} is gone")
    state, error = verdict_of(client, "deaf", "d")
    suite.equal((state, error), ("ready", "timeout: deaf took longer than 300ms"), "a deaf script")
    suite.check(not alive(place.pid("deaf")), "the deaf script is gone")
    state, error = verdict_of(client, "sorry", "s")
    suite.equal(state, "ready", "told to end, its 0 is no longer an answer")
    suite.check((error or "").startswith("timeout: sorry took longer than 300ms"), error)
    suite.equal(verdict_of(client, "leaves", "l"), ("done", None), "a script that leaves a child")
    until(lambda: not alive(place.pid("leaves")), "the child left behind is gone", patience=10)
    suite.equal(verdict_of(client, "escapes", "e"), ("done", None), "a script with a service of its own")
    service = place.pid("escapes")
    suite.check(alive(service), "what has a session of its own is let be")
    os.kill(service, signal.SIGKILL)


def memory_of(server):
    """The most memory it ever had, in bytes."""
    with open(f"/proc/{server.process.pid}/status", encoding="utf-8") as file:
        return next(int(line.split()[1]) << 10 for line in file if line.startswith("VmHWM"))


def floods(suite, server, client):
    """Output without end neither blocks nor fills the memory."""
    before = memory_of(server)
    state, error = verdict_of(client, "flood", "f")
    suite.equal(state, "ready", "a flood of two gigabytes")
    suite.check(error.startswith("exit: flood ended with 3: eeee"), f"its beginning is kept: {error}")
    suite.check(len(error.encode()) <= 512, f"and no more: {len(error)}")
    state, error = verdict_of(client, "endless", "e")
    suite.equal(state, "ready", "an endless writer")
    suite.check(error.startswith("timeout: endless took longer than 2s: y y"), error)
    grown = memory_of(server) - before
    suite.check(grown < 32 << 20, f"memory grew by {grown >> 20} MiB")


def bounded(suite, place, client):
    """Limits hold, and are told."""
    state, error = verdict_of(client, "busy", "b")
    wanted = "killed: busy by SIGXCPU, its limit of cpu time"
    suite.equal((state, error), ("ready", wanted), "cpu time")
    state, error = verdict_of(client, "hungry", "h")
    suite.equal((state, error), ("ready", "exit: hungry ended with 1: no memory"), "memory")
    if IS_ROOT:
        lapse(client, "bound", "u")
        record = tried(client, "bound", "u")
        suite.equal(record["delivery"]["state"], "done", f"as {NOBODY}: {record['delivery']}")
        seen = place.witnessed(record)
        uid, gid = (int(text) for text in subprocess.run(
            ["sh", "-c", f"id -u {NOBODY}; id -g {NOBODY}"], capture_output=True, check=True,
        ).stdout.split())
        suite.equal(seen["uid"], [uid] * 3, "its user")
        suite.equal(seen["gid"], [gid] * 3, "its group")
        suite.check(set(seen["groups"]) <= {gid}, f"nothing is left of root's groups: {seen['groups']}")
        suite.equal(seen["limits"], {
            "CPU": [7, 8], "AS": [512 << 20] * 2, "NOFILE": [33, 33], "NPROC": [500, 500],
            "CORE": [0, 0],
        }, "its limits")
        state, error = verdict_of(client, "bomb", "b")
        suite.equal(state, "ready", "a fork bomb")
        born = int(error.removeprefix("exit: bomb ended with 1: ").split()[0])
        suite.check(0 < born < 32, f"a fork bomb is bounded: {error}")
        theirs = lambda: [pid for pid in os.listdir("/proc") if pid.isdigit() and alive(pid)
                          and b"bomb.py" in command_line(pid)]
        until(lambda: not theirs(), "nothing is left of the bomb", patience=10)


def command_line(pid):
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def missing(suite, server, client):
    """A command that cannot be run is tried again, and named by its setting when the server starts."""
    for queue, why in (
        ("missing", "No such file or directory (os error 2)"),
        ("text", "Permission denied (os error 13)"),
        ("nowhere", "No such file or directory (os error 2)"),
    ):
        found = verdict_of(client, queue, "m")
        suite.equal(found, ("ready", f"cannot_run: {queue} cannot be run: {why}"), queue)
    said = server.said()
    for name in ("missing", "text"):
        suite.check(f"exec.{name}.argv[0]" in said, f"the log names exec.{name}.argv[0]")
    if IS_ROOT:
        suite.check("exec.exit.user" in said, "the log says that commands run as root")


def names_only(suite, client):
    """The API names a command and can say nothing else about it."""
    for target in (
        {"exec": {"command": "nobody-knows"}},
        {"exec": {"command": "exit", "argv": ["/bin/sh", "-c", "id"]}},
        {"exec": {"command": "exit", "env": {"A": "b"}}},
        {"exec": {"argv": ["/bin/sh"]}},
        {"exec": ["exit"]},
        {"exec": "exit"},
        {"exec": {"command": ["exit"]}},
        {"exec": {"command": "/bin/sh"}},
        {"exec": {"command": "../exit"}},
        {"exec": {}},
    ):
        reply = client.ask("PUT", "/v1/queues/of-mine", {"target": target})
        suite.check(reply.status in (400, 422), f"{target}: {reply!r}")
    suite.equal(client.get("/v1/queues/of-mine").status, 404, "no queue came of it")


def php(suite, place, client):
    """The wish: a PHP script that cancels the order when its time is over, unless it was paid."""
    shop = sqlite3.connect(place.suite.path("shop.db"), isolation_level=None)
    shop.executescript("""
        CREATE TABLE orders (id TEXT PRIMARY KEY, status TEXT NOT NULL, cancelled_by TEXT);
        CREATE TABLE stock (sku TEXT PRIMARY KEY, available INTEGER NOT NULL);
        INSERT INTO stock VALUES ('mug', 10), ('cap', 5);
        PRAGMA journal_mode = WAL;
    """)
    orders = {f"o{number}": "paid" if number % 3 == 0 else "unpaid" for number in range(30)}
    payload = {"total": "19.90", "lines": [{"sku": "mug", "quantity": 2}, {"sku": "cap", "quantity": 1}]}
    for order, status in orders.items():
        shop.execute("INSERT INTO orders (id, status) VALUES (?, ?)", (order, status))
        reply = client.schedule("cancel", order, after="1s", payload=payload)
        suite.equal(reply.status, 201, f"schedule {order}")
    # One is paid in time and says so: its script never runs.
    shop.execute("UPDATE orders SET status='paid' WHERE id='o1'")
    suite.equal(client.act("cancel", "o1", "settle", outcome="paid")["result"], "settled", "o1 is settled")
    cancelled = 0
    for order, status in orders.items():
        if order == "o1":
            continue
        record = tried(client, "cancel", order)
        wanted = "done" if status == "unpaid" else "superseded"
        suite.equal(record["delivery"]["state"], wanted, f"{order}: {record['delivery']}")
        row = shop.execute("SELECT status, cancelled_by FROM orders WHERE id=?", (order,)).fetchone()
        if status == "unpaid":
            cancelled += 1
            suite.equal(row, ("cancelled", record["delivery"]["id"]), f"{order} in the shop")
        else:
            suite.equal(row, ("paid", None), f"{order} in the shop")
    suite.equal(client.read("cancel", "o1")["state"], "settled", "o1 stays settled")
    stock = dict(shop.execute("SELECT sku, available FROM stock"))
    suite.equal(stock, {"mug": 10 + 2 * cancelled, "cap": 5 + cancelled}, "the stock, given back once")
    shop.close()


def descriptors(suite, server):
    """Everything that Duly itself opens closes itself when another program begins."""
    folder = f"/proc/{server.process.pid}/fdinfo"
    looked = 0
    for descriptor in os.listdir(folder):
        if int(descriptor) <= 2:
            continue
        try:
            with open(f"{folder}/{descriptor}", encoding="utf-8") as file:
                flags = next(int(line.split()[1], 8) for line in file if line.startswith("flags"))
            leads_to = os.readlink(f"/proc/{server.process.pid}/fd/{descriptor}")
        except FileNotFoundError:
            continue
        looked += 1
        suite.check(flags & os.O_CLOEXEC, f"descriptor {descriptor}, {leads_to}, closes itself")
    suite.check(looked >= 10, f"{looked} descriptors were looked at")


def with_descriptor(suite, place):
    """A descriptor that Duly was itself started with is not handed on."""
    plain = suite.binary
    suite.binary = place.write("started", f'#!/bin/sh\nexec 7< /etc/passwd\nexec {plain} "$@"\n')
    os.chmod(suite.binary, stat.S_IRWXU)
    server = suite.server(data="inherited", config=place.configuration())
    with server.client() as client:
        place.queues(client)
        suite.check(os.path.exists(f"/proc/{server.process.pid}/fd/7"), "Duly has descriptor 7")
        lapse(client, "somewhere", "fd")
        record = tried(client, "somewhere", "fd")
        suite.equal(record["delivery"]["state"], "done", "the witness ran")
        suite.equal(sorted(place.witnessed(record)["open"]), ["0", "1", "2"], "what it had open")
    server.stop()
    suite.binary = plain


def no_zombies(suite, server):
    """Nothing that has ended is still in the system's table."""
    def zombies():
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
                    state, parent = file.read().rsplit(")", 1)[1].split()[:2]
            except (FileNotFoundError, ProcessLookupError):
                continue
            if int(parent) == server.process.pid:
                found.append((pid, state))
        return found

    until(lambda: not zombies(), "Duly has no child any more, alive or dead", patience=10)
    suite.equal(zombies(), [], "children of Duly")


def ran(place, key):
    """The process ids of the slow script for a key, one a run."""
    try:
        with open(f"{place.out}/slow-{key}", encoding="utf-8") as file:
            return [int(line) for line in file]
    except FileNotFoundError:
        return []


def done_by(place, key):
    try:
        with open(f"{place.out}/slow-done-{key}", encoding="utf-8") as file:
            return file.read().splitlines()
    except FileNotFoundError:
        return []


def stopped(suite, place, server):
    """A stop lets a command finish for a while, and then ends it; what was cut off comes again."""
    with server.client() as client:
        lapse(client, "slow", "short", {"seconds": 2})
        until(lambda: ran(place, "short"), "the short one runs")
    suite.equal(server.stop(), 0, "the server stops in order")
    server.start()
    with server.client() as client:
        delivery = tried(client, "slow", "short")["delivery"]
        suite.equal((delivery["state"], delivery["attempts"]), ("done", 1), "it was let finish")
        client.queue("slow", target={"exec": {"command": "slow"}}, retry=["1s"])
        lapse(client, "slow", "long", {"seconds": 1000})
        until(lambda: ran(place, "long"), "the long one runs")
        first = client.read("slow", "long")["delivery"]
    os.kill(server.process.pid, signal.SIGTERM)
    suite.equal(server.process.wait(60), 0, "the server stops although a command goes on")
    until(lambda: not alive(ran(place, "long")[0]), "the command is ended with it", patience=10)
    server.start()
    until(lambda: len(ran(place, "long")) == 2, "it is tried again")
    with server.client() as client:
        second = client.read("slow", "long")["delivery"]
    suite.equal((first["id"], first["attempts"]), (second["id"], 1), "the first attempt")
    suite.equal(second["attempts"], 2, "the second attempt")
    with server.client() as client:
        client.queue("slow", target={"exec": {"command": "slow"}}, retry=["1h"])
        os.killpg(ran(place, "long")[1], signal.SIGKILL)
        found = tried(client, "slow", "long")["delivery"]["last_error"]
        suite.equal(found, "killed: slow by SIGKILL", "ended by somebody else")


def killed(suite, place, server):
    """`kill -9`: the command may go on, and the delivery comes again under the same id."""
    with server.client() as client:
        lapse(client, "slow", "cut", {"seconds": 3})
        until(lambda: ran(place, "cut"), "it runs")
        first = client.read("slow", "cut")["delivery"]["id"]
    server.kill()
    began = time.monotonic()
    server.start()
    until(lambda: len(done_by(place, "cut")) == 2, "both runs come to their end")
    suite.check(time.monotonic() - began < 60, "without waiting for a lease to run out")
    suite.equal(sorted(done_by(place, "cut")), [f"{first} 1", f"{first} 2"], "one id, two attempts")
    with server.client() as client:
        delivery = tried(client, "slow", "cut")["delivery"]
        found = (delivery["id"], delivery["state"], delivery["attempts"])
        suite.equal(found, (first, "done", 2), "the record knows of both")


def bad_settings(suite, place):
    """A wrong setting is told by its name, before anything is run."""
    good = {"argv": ["/bin/true"]}
    cases = [
        ({"argv": ["true"]}, "exec.c.argv", "absolute path"),
        ({"argv": []}, "exec.c.argv", "absolute path"),
        ({"argv": ["/bin/:key"]}, "exec.c.argv[0]", "no parameter chooses"),
        ({"argv": ["/bin/true", ":id"]}, "exec.c.argv[1]", "no parameter is called :id"),
        ({"argv": ["/bin/true", "--:key"]}, "exec.c.argv[1]", "choose an option"),
        ({**good, "cwd": "shop"}, "exec.c.cwd", "absolute"),
        ({**good, "env": {"DULY_KEY": "1"}}, "exec.c.env", "set by Duly"),
        ({**good, "env": {"A=B": "1"}}, "exec.c", ""),
        ({**good, "timeout": "1h"}, "exec.c.timeout", "100ms to 9m"),
        ({**good, "limits": {"memory": "1MiB"}}, "exec.c.limits", "16MiB"),
        ({**good, "limits": {"processes": 0}}, "exec.c.limits", "no process"),
        ({**good, "limits": {"swap": 1}}, "exec.c.limits", "swap"),
        ({**good, "shell": True}, "exec.c", "shell"),
    ]
    for settings, key, why in cases:
        if "A=B" in settings.get("env", {}):
            settings = {**settings, "env": {'"A=B"': "1"}}
        file = place.write("bad.toml", place.configuration({"c": settings}))
        said = subprocess.run([suite.binary, "config", "--check", file], capture_output=True, text=True,
                              check=False)
        good_answer = said.returncode == 78 and key in said.stderr and why in said.stderr
        suite.check(good_answer, f"{settings}: {said.returncode} {said.stderr}")
    starts = [
        ({**good, "user": "nobody-of-this-name"}, "exec.c.user"),
        ({**good, "group": "nobody-of-this-name"}, "exec.c.group"),
        ({**good, "user": "root", "limits": {"processes": 5}}, "exec.c.limits"),
    ]
    for settings, key in starts:
        key = key if IS_ROOT else "exec.c."
        file = place.write("bad.toml", place.configuration({"c": settings}))
        said = subprocess.run(
            [suite.binary, "serve", "--data", suite.path("bad"), "--http", "off", "--redis", "off", "--config", file],
            capture_output=True, text=True, check=False, timeout=60,
        )
        suite.check(said.returncode == 78 and key in said.stderr + said.stdout,
                    f"{settings}: {said.returncode} {said.stderr}")


if __name__ == "__main__":
    main()
