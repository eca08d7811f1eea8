#!/usr/bin/env python3
"""The same commands to Debian's redis-server and to Duly: the same bytes come back.

Random sequences of the commands that both have go to both, over RESP2 and RESP3, and every reply is
compared byte for byte. Both servers' clocks stand still and are moved by hand, Redis's by a few lines
of C that are loaded before its own library, so that times are compared exactly as well. Where Duly
differs it says so: docs/redis.md has the list of replies that differ, the list here is the same, each
line of it is shown by an example, and a reply that differs for any other reason is a fault.
"""

import os
import random
import re
import socket
import struct
import subprocess
import sys

from blackbox import Suite, free_port, instant, until

SEED = int(os.environ.get("DULY_SEED", "1"))
ROUNDS = 160
CLIENTS = 16
"""Each round is as many sequences, side by side."""

PAGE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "docs", "redis.md")
SECTION = "## Replies that differ"

CLOCK = """
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
static volatile long long *ms;
__attribute__((constructor)) static void open_clock(void) {
    int file = open(getenv("CLOCK_FILE"), O_RDONLY);
    if (file < 0) abort();
    ms = mmap(0, sizeof *ms, PROT_READ, MAP_SHARED, file, 0);
    if (ms == MAP_FAILED) abort();
}
int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    (void)zone;
    now->tv_sec = *ms / 1000, now->tv_usec = *ms % 1000 * 1000;
    return 0;
}
"""
"""Redis asks nothing but this what time of day it is; what it measures waits with is left alone."""


def main():
    with Suite("redis_differential", floor=ROUNDS * CLIENTS * 30) as suite:
        pair = Pair(suite)
        listed(suite)
        pair.examples()
        pair.rounds()
        print(f"seed {SEED}: {pair.sequences} sequences, {pair.compared} replies compared, "
              f"{pair.differed} of them differed as listed")
        suite.check(pair.sequences == ROUNDS * CLIENTS, f"{pair.sequences} sequences")


# What differs.

class Example:
    """One command after others, and what both servers reply to it."""

    def __init__(self, before, command, redis, duly):
        self.before, self.command, self.redis, self.duly = before, command, redis, duly


def words(line):
    """A command as it is written here; `''` is the empty word."""
    return [b"" if word == "''" else word.encode() for word in line.split()]


def example(*lines, redis, duly):
    """The last line is the command; replies are patterns over the whole reply."""
    said = [line if isinstance(line, (list, float)) else words(line) for line in lines]
    return Example(said[:-1], said[-1], redis, duly)


NO_DUE_TIME = rb"-NO_DUE_TIME .*\r\n"
DUE_IN_PAST = rb"-DUE_IN_PAST .*\r\n"
DUE_TOO_FAR = rb"-DUE_TOO_FAR .*\r\n"
MAX_TOTAL = rb"-MAX_TOTAL .*\r\n"
OK = rb"\+OK\r\n"
ERROR = rb"-ERR .*\r\n"
NO_EXPIRY = "A key needs an expiry."
LONG_PAST = "An expiry more than an hour ago is refused."
FAR_AHEAD = "An expiry more than ten years ahead is refused."
TOO_LONG = "`EXPIRE` obeys the queue's `max_total`."
TOTAL_DAYS = 3_000
"""The `max_total` of the queues that the random commands use."""

DIFFERENCES = {
    NO_EXPIRY: [
        example("SET k v", redis=OK, duly=NO_DUE_TIME),
        example("SETNX k v", redis=rb":1\r\n", duly=NO_DUE_TIME),
        example("SET k v KEEPTTL", redis=OK, duly=NO_DUE_TIME),
        example("SETEX k 60 v", "PERSIST k", redis=rb":1\r\n", duly=ERROR),
    ],
    LONG_PAST: [
        example("SET k v EXAT 1000", redis=OK, duly=DUE_IN_PAST),
        example("SETEX k 60 v", "EXPIREAT k 1000", redis=rb":1\r\n", duly=DUE_IN_PAST),
    ],
    FAR_AHEAD: [
        example("SETEX k 400000000 v", redis=OK, duly=DUE_TOO_FAR),
    ],
    TOO_LONG: [
        example("SETEX short:k 60 v", "EXPIRE short:k 90000", redis=rb":1\r\n",
                duly=MAX_TOTAL),
    ],
    "A key that somebody is acting on cannot be set.": [
        example("SETEX work:k 1 v", 1.001, "SETEX work:k 60 v", redis=OK,
                duly=rb"-DELIVERY_UNDER_WAY .*\r\n"),
    ],
    "A key is gone at its expiry, and not a millisecond later.": [
        example("PSETEX k 2000 v", 2.0, "GET k", redis=rb"\$1\r\nv\r\n", duly=rb"\$-1\r\n"),
    ],
    "A key is text.": [
        example("GET ''", redis=rb"\$-1\r\n", duly=ERROR),
        example([b"SETEX", b"\xff", b"60", b"v"], redis=OK, duly=ERROR),
        example([b"SETEX", b"k" * 513, b"60", b"v"], redis=OK, duly=ERROR),
        example([b"SETEX", b"a b:c", b"60", b"v"], redis=OK, duly=ERROR),
    ],
    "`k` and `default:k` are one key.": [
        example("SETEX k 60 v", "GET default:k", redis=rb"\$-1\r\n", duly=rb"\$1\r\nv\r\n"),
    ],
    "A value has 64 KiB at most.": [
        example([b"SETEX", b"k", b"60", b"v" * 65_537], redis=OK, duly=rb"-PAYLOAD_TOO_LARGE .*\r\n"),
    ],
    "A word has 1 MiB at most, a request 65,536 words and 16 MiB.": [
        example([b"ECHO", b"v" * (1 << 20) + b"v"], redis=rb"\$1048577\r\nv+\r\n",
                duly=rb"-ERR Protocol error: invalid bulk length\r\n"),
    ],
    "There is one database.": [
        example("SELECT 1", redis=OK, duly=ERROR),
    ],
    "`DBSIZE` does not count what has expired.": [
        example("SETEX k 1 v", 1.001, "DBSIZE", redis=rb":1\r\n", duly=rb":0\r\n"),
    ],
    "`SCAN` walks 8,192 records a call, in an order of its own.": [
        example(*(f"SETEX k{number} 60 v" for number in range(50)), "SCAN 0 COUNT 1",
                redis=rb"\*2\r\n\$\d+\r\n[1-9].*", duly=rb"\*2\r\n\$1\r\n0\r\n\*50\r\n.*"),
    ],
    "There are no transactions: `EXEC` never carries one out.": [
        example("MULTI", "SETEX k 60 v", "EXEC", redis=rb"\*1\r\n\+OK\r\n", duly=rb"-EXECABORT .*\r\n"),
        example("WATCH k", redis=OK, duly=ERROR),
    ],
    "Other commands are not there, and the error says what to use.": [
        example("KEYS *", redis=rb"\*0\r\n",
                duly=rb"-ERR unknown command 'KEYS': use SCAN with MATCH\r\n"),
        example("INCR k", redis=rb":1\r\n", duly=ERROR),
        example("NOTHING k", redis=rb"-ERR unknown command 'NOTHING', with args beginning .*",
                duly=rb"-ERR unknown command 'NOTHING': .*\r\n"),
    ],
    "`HELLO` names the server `duly` and its own version.": [
        example("HELLO 2", redis=rb".*\r\nredis\r\n.*", duly=rb".*\r\nduly\r\n.*"),
    ],
    "`CLIENT` knows its own connection only.": [
        example("CLIENT LIST", redis=rb".*addr=.*", duly=rb"\$\d+\r\nid=\d+ name= db=0 .*"),
        example("CLIENT INFO", redis=rb".*addr=.*", duly=rb"\$\d+\r\nid=\d+ name= db=0 .*"),
        example("CLIENT UNPAUSE", redis=OK, duly=ERROR),
        example("CLIENT SETINFO LIB-NAME x", redis=ERROR, duly=OK),
    ],
    "`CLIENT REPLY` is always `ON`.": [
        example("CLIENT REPLY OFF", "CLIENT REPLY ON", redis=OK, duly=ERROR),
    ],
    "`INFO` tells what is true of Duly.": [
        example("INFO", redis=rb".*redis_git_sha1:.*", duly=rb".*duly_version:.*"),
    ],
    "`COMMAND` tells names, words, keys and a manual.": [
        example("COMMAND INFO get", redis=rb".*@read.*", duly=rb"\*1\r\n\*10\r\n\$3\r\nget\r\n:2\r\n.*"),
        example("COMMAND COUNT", redis=rb":2\d\d\r\n", duly=rb":\d\d\r\n"),
        example("COMMAND DOCS get", redis=rb".*Get the value of a key.*", duly=rb".*Tells the value while.*"),
    ],
    "`CONFIG` knows `notify-keyspace-events`, which is always on, and few others.": [
        example("CONFIG GET notify-keyspace-events", redis=rb".*\r\n\$0\r\n\r\n", duly=rb".*\r\nxKE\r\n"),
        example("CONFIG SET notify-keyspace-events Kg", redis=OK, duly=ERROR),
        example("CONFIG SET maxmemory 0", redis=OK, duly=ERROR),
        example("CONFIG RESETSTAT", redis=OK, duly=ERROR),
    ],
}
"""Every difference, as docs/redis.md says it, with examples."""


def listed(suite):
    """The page has these differences, in this order, and no other."""
    with open(PAGE, encoding="utf-8") as page:
        text = page.read()
    suite.check(SECTION in text, f"docs/redis.md has the section {SECTION!r}")
    section = text.partition(SECTION)[2].partition("\n## ")[0]
    told = [" ".join(line.split()) for line in re.findall(r"^- \*\*(.+?)\*\*", section, re.M | re.S)]
    suite.equal(told, list(DIFFERENCES), "what docs/redis.md says differs")


# The servers.

class Peer:
    """A connection, and replies as the bytes that they are."""

    def __init__(self, port, is_new=False):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.bytes = b""
        if is_new:
            self.ask([b"HELLO", b"3"])

    def send(self, commands):
        """Sends them all at once."""
        self.socket.sendall(b"".join(packed(command) for command in commands))

    def reply(self):
        """The next reply."""
        while True:
            end = reply_end(self.bytes, 0)
            if end is not None:
                reply, self.bytes = self.bytes[:end], self.bytes[end:]
                return reply
            more = self.socket.recv(1 << 16)
            if not more:
                raise ConnectionError(f"hung up after {self.bytes[:200]!r}")
            self.bytes += more

    def ask(self, command):
        """One command and its reply."""
        self.send([command])
        return self.reply()

    def close(self):
        """Goodbye."""
        self.socket.close()


def packed(command):
    """A command as programs send it."""
    return b"*%d\r\n" % len(command) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in command)


def reply_end(data, at):
    """Where the reply that begins there ends; none if not all of it has come."""
    line = data.find(b"\r\n", at)
    if line < 0:
        return None
    kind, rest, end = data[at:at + 1], data[at + 1:line], line + 2
    if kind in b"+-:,_#(":
        return end
    length = int(rest)
    if kind in b"$=":
        end += length + 2 if length >= 0 else 0
        return end if end <= len(data) else None
    for _ in range(length * (2 if kind == b"%" else 1) if length > 0 else 0):
        end = reply_end(data, end)
        if end is None:
            return None
    return end


class Redis:
    """Debian's redis-server, with a clock that is set by hand."""

    def __init__(self, suite, now_ms):
        self.port, self.file = free_port(), suite.path("clock")
        source, library = suite.path("clock.c"), suite.path("clock.so")
        with open(source, "w", encoding="utf-8") as out:
            out.write(CLOCK)
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, source], check=True)
        with open(self.file, "wb") as out:
            out.write(struct.pack("q", now_ms))
        with open(suite.path("redis.log"), "wb") as log:
            self.process = subprocess.Popen(
                ["redis-server", "--bind", "127.0.0.1", "--port", str(self.port), "--save", "",
                 "--dir", suite.directory, "--enable-debug-command", "yes"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env={**os.environ, "LD_PRELOAD": library, "CLOCK_FILE": self.file},
            )
        suite.to_stop.append(self)
        until(self.is_there, "redis answers")

    def is_there(self):
        """Whether it answers."""
        assert self.process.poll() is None, "redis ended; see redis.log"
        try:
            # What has expired is gone when it is asked for, and not before: so both agree on when.
            self.peer = Peer(self.port)
            return self.peer.ask([b"DEBUG", b"SET-ACTIVE-EXPIRE", b"0"]) == b"+OK\r\n"
        except OSError:
            return False

    def set_clock(self, now_ms):
        """Moves its clock."""
        with open(self.file, "r+b") as out:
            out.write(struct.pack("q", now_ms))

    def stop(self):
        """Ends it."""
        self.process.kill()
        self.process.wait()


class Pair:
    """Both servers at one time."""

    def __init__(self, suite):
        self.suite = suite
        config = '[journal]\nsegment_size = "1MiB"\n'
        self.server = suite.server(config=config, redis=True, args=["--clock", "manual"])
        self.http = self.server.client()
        # Expiries of seconds must fall between the moments that are looked at.
        self.now = instant(self.http.get("/v1/clock")["clock"]["now"])
        self.redis = Redis(suite, self.now)
        self.advance(1_000 - self.now % 1_000 + 123)
        for queue, target in (("default", "none"), ("orders", "none"), ("carts", "none"),
                              ("short", "none"), ("work", "pull")):
            total = "24h" if queue == "short" else f"{TOTAL_DAYS}d"
            self.http.queue(queue, target=target, max_total=total)
        self.sequences, self.compared, self.differed = 0, 0, 0

    def advance(self, by_ms):
        """Moves both clocks."""
        self.now += by_ms
        reply = self.http.ask("POST", "/v1/clock/advance", {"by": f"{by_ms}ms"})
        assert reply.status == 200, f"advance: {reply!r}"
        self.redis.set_clock(self.now)

    def peers(self, is_new=False):
        """A connection to each."""
        return Peer(self.redis.port, is_new), Peer(self.server.redis, is_new)

    def clean(self):
        """Nothing is left in either."""
        redis, duly = self.peers()
        keys = walk(duly)
        if keys:
            duly.ask([b"DEL", *keys])
        redis.ask([b"FLUSHALL"])
        self.suite.equal((redis.ask([b"DBSIZE"]), duly.ask([b"DBSIZE"])), (b":0\r\n",) * 2, "clean")
        redis.close()
        duly.close()

    # Examples.

    def examples(self):
        """Each difference is one."""
        for sentence, examples in DIFFERENCES.items():
            for shown in examples:
                self.example(sentence, shown)
                self.clean()

    def example(self, sentence, shown):
        redis, duly = self.peers()
        for step in shown.before:
            if isinstance(step, float):
                self.advance(round(step * 1_000))
            elif step == [b"CLIENT", b"REPLY", b"OFF"]:
                redis.send([step])
                shown.command = step
                shown_redis = redis.ask([b"CLIENT", b"REPLY", b"ON"])
                self.differ(sentence, step, shown, shown_redis, duly.ask(step))
                redis.close()
                duly.close()
                return
            else:
                redis.ask(step)
                duly.ask(step)
        self.differ(sentence, shown.command, shown, redis.ask(shown.command), duly.ask(shown.command))
        redis.close()
        duly.close()

    def differ(self, sentence, command, shown, redis, duly):
        said = b" ".join(command)[:60]
        for name, pattern, reply in (("redis", shown.redis, redis), ("duly", shown.duly, duly)):
            good = re.fullmatch(pattern, reply, re.S)
            self.suite.check(good, f"{sentence} {name} to {said!r}: {reply[:200]!r}")
        self.suite.check(redis != duly, f"{sentence} {said!r} does not differ: {duly[:200]!r}")

    # Sequences.

    def rounds(self):
        """All sequences."""
        lanes = [Lane(self, number) for number in range(CLIENTS)]
        for number in range(ROUNDS):
            dice = [random.Random(f"{SEED}/{number}/{lane.number}") for lane in lanes]
            makers = [Maker(dice[lane.number], f"{number}.{lane.number}", self.now) for lane in lanes]
            for part in range(2):
                # All is sent before anything is read, so that the server has many at once.
                for lane, maker in zip(lanes, makers):
                    maker.now = self.now
                    lane.send(maker.part(part))
                for lane in lanes:
                    lane.compare()
                if part == 0:
                    self.advance(1_000 * random.Random(f"{SEED}/{number}").randrange(1, 40) + 1)
            self.whole(lanes[0], [key for maker in makers for key in maker.keys])
            self.sequences += len(lanes)
            if len(self.suite.faults) > 20:
                print("too many faults: stopping here")
                return

    def whole(self, lane, keys):
        """What is there altogether, and then nothing."""
        lane.redis.ask([b"EXISTS", *keys])
        lane.send([(command, None) for command in ([b"DBSIZE"], [b"TIME"])])
        lane.compare()
        walked = [sorted(walk(peer)) for peer in (lane.redis, lane.duly)]
        self.suite.equal(walked[1], walked[0], "what SCAN finds")
        lane.send([([b"DEL", *keys], None), ([b"DBSIZE"], None)])
        lane.compare()


def walk(peer):
    """All keys by SCAN."""
    cursor, keys = b"0", set()
    while True:
        parts = peer.ask([b"SCAN", cursor, b"COUNT", b"1000"]).split(b"\r\n")
        cursor = parts[2]
        keys.update(key for key in parts[5::2] if key)
        if cursor == b"0":
            return keys


class Lane:
    """A connection to each server, and what was sent on both."""

    def __init__(self, pair, number):
        self.pair, self.number = pair, number
        self.redis, self.duly = pair.peers(is_new=number % 2 == 1)
        self.sent, self.said = [], []

    def send(self, commands):
        """Sends pairs of a command and the key on which its difference depends, if it may differ."""
        self.sent = commands
        for_redis = []
        for command, key in commands:
            if key is not None:
                for_redis.append([b"EXISTS", key])
            for_redis.append(command)
        self.redis.send(for_redis)
        self.duly.send([command for command, _ in commands])

    def compare(self):
        """Reads all replies, which are equal or differ as they must."""
        is_resynced = False
        for number, (command, key) in enumerate(self.sent):
            is_there = key is not None and self.redis.reply() == b":1\r\n"
            redis, duly = self.redis.reply(), self.duly.reply()
            self.pair.compared += 1
            if is_resynced:
                # The command before differed, and this one deleted what it left behind.
                is_resynced = False
                continue
            sentence = key is not None and differs(command, is_there, self.pair.now)
            if sentence:
                self.pair.differed += 1
                good = re.fullmatch(EXPECTED[sentence], duly)
                is_resynced = True
                self.pair.suite.check(good and redis != duly, self.told(number, redis, duly, sentence))
            else:
                self.pair.suite.check(redis == duly, self.told(number, redis, duly, "it must not"))

    def told(self, number, redis, duly, why):
        """Where it happened."""
        before = [command for command, _ in self.sent[:number]]
        about = self.sent[number][0][1:2]
        same = [command for command in before if about and about[0] in command][-6:]
        return (f"{self.sent[number][0]!r} after {same!r}: redis {redis!r}, duly {duly!r} ({why}; "
                f"lane {self.number}, seed {SEED})")


EXPECTED = {NO_EXPIRY: NO_DUE_TIME, LONG_PAST: DUE_IN_PAST, FAR_AHEAD: DUE_TOO_FAR,
            TOO_LONG: MAX_TOTAL}
"""What Duly replies where the random commands differ."""

HOUR, DAY = 3_600_000, 86_400_000
TEN_YEARS = 3_653 * DAY


def differs(command, is_there, now):
    """The difference that this command must show, going by whether its key is there."""
    name = command[0].upper()
    if name in (b"SETEX", b"PSETEX"):
        due, is_set = now + int(command[2]) * (1_000 if name == b"SETEX" else 1), True
    elif name == b"SETNX":
        due, is_set = None, not is_there
    elif name == b"SET":
        options = [word.upper() for word in command[3:]]
        due = now if b"KEEPTTL" in options and is_there else None
        # Of two expiries in the same unit the later counts.
        for option, word in list(zip(options, options[1:]))[::-1]:
            if option in (b"EX", b"PX", b"EXAT", b"PXAT"):
                unit = 1 if option.startswith(b"P") else 1_000
                due = int(word) * unit + (0 if option.endswith(b"AT") else now)
                break
        is_set = (is_there or b"XX" not in options) and not (is_there and b"NX" in options)
    else:
        unit = 1 if name.startswith(b"P") else 1_000
        due = int(command[2]) * unit + (0 if name.endswith(b"AT") else now)
        options = [word.upper() for word in command[3:]]
        # Nothing is compared with what is due long ago; what is due so far ahead is later.
        is_past = due < now
        is_set = is_there and b"NX" not in options and (b"GT" if is_past else b"LT") not in options
        if not name.endswith(b"AT"):
            due = max(due, now)
    if not is_set:
        return None
    if due is None:
        return NO_EXPIRY
    # No deadline of a sequence was made long before it.
    if name not in (b"SET", b"SETEX", b"PSETEX") and due > now + (TOTAL_DAYS - 1) * DAY:
        return TOO_LONG
    return LONG_PAST if due < now - HOUR else FAR_AHEAD if due > now + TEN_YEARS else None


class Maker:
    """Random commands about a few keys that nobody else has."""

    def __init__(self, dice, name, now):
        self.dice, self.now = dice, now
        forms = ("{}", "orders:{}", "orders:{}:x", "carts:k\u00e9y {}", "carts:{}")
        self.keys = [form.format(name).encode() for form in dice.sample(forms, 3)]

    def part(self, part):
        """Some commands; those that may differ come with their key, and with what cleans up."""
        made = []
        for _ in range(self.dice.randrange(12, 28)):
            made += self.dice.choices(self.MAKERS, self.WEIGHTS)[0](self)
        return made

    def key(self):
        """One of its keys."""
        return self.dice.choice(self.keys)

    def value(self):
        """Some value."""
        return self.dice.choice((
            b"v", b"", b"\r\n", b"\x00\xff", b'{"a":1}', b"17", b"*1\r\n", "ü".encode(), b"x" * 3_000,
            str(self.dice.random()).encode(),
        ))

    def odd(self, number):
        """A number, now and then one that is none."""
        if self.dice.random() < 0.12:
            return self.dice.choice((b"0", b"-1", b"", b"x", b"1.5", b"+5", b"05", b" 5", b"5 ", b"1e3",
                                     b"9223372036854775807", b"9223372036854775808",
                                     b"-9223372036854775808", b"-9223372036854775809", b"-0"))
        return str(number).encode()

    def case(self, word):
        """The word, in one case or another."""
        return self.dice.choice((word, word, word.lower(), word.capitalize()))

    def after(self, unit):
        """A span in this unit."""
        ms = self.dice.choice((1_000, 2_000, 5_000, 30_000, 60_000, 3_600_000, 86_400_000 * 300))
        return self.odd(ms // unit if unit > 1 else ms + self.dice.choice((0, 0, 500)))

    def at(self, unit):
        """An instant in this unit, around now."""
        ms = self.now // 1_000 * 1_000 + self.dice.choice(
            (-7_200_000, -5_000, -1_000, 2_000, 10_000, 60_000, 3_600_000))
        return self.odd(ms // unit)

    def set(self):
        """SET with any options."""
        key, options = self.key(), []
        for _ in range(self.dice.randrange(1, 4)):
            option = self.dice.choice((b"EX", b"EX", b"PX", b"EXAT", b"PXAT", b"NX", b"XX", b"GET",
                                       b"KEEPTTL"))
            options.append(self.case(option))
            if option in (b"EX", b"PX"):
                options.append(self.after(1_000 if option == b"EX" else 1))
            elif option in (b"EXAT", b"PXAT"):
                options.append(self.at(1_000 if option == b"EXAT" else 1))
        if self.dice.random() < 0.04:
            options.insert(self.dice.randrange(len(options) + 1), self.dice.choice((b"EX", b"WITH", b"5")))
        return self.may_differ([self.case(b"SET"), key, self.value(), *options], key)

    def setex(self):
        """SETEX and PSETEX."""
        name = self.dice.choice((b"SETEX", b"PSETEX"))
        key = self.key()
        span = self.after(1_000 if name == b"SETEX" else 1)
        return self.may_differ([self.case(name), key, span, self.value()], key)

    def setnx(self):
        """SETNX."""
        key = self.key()
        return self.may_differ([self.case(b"SETNX"), key, self.value()], key)

    def expire(self):
        """The four ways to move an expiry."""
        name = self.dice.choice((b"EXPIRE", b"PEXPIRE", b"EXPIREAT", b"PEXPIREAT"))
        key, unit = self.key(), 1 if name.startswith(b"P") else 1_000
        number = self.at(unit) if name.endswith(b"AT") else self.after(unit)
        options = [self.case(self.dice.choice((b"NX", b"XX", b"GT", b"LT", b"GT", b"LT", b"WHY")))
                   for _ in range(self.dice.choice((0, 0, 1, 1, 1, 2)))]
        return self.may_differ([self.case(name), key, number, *options], key)

    def may_differ(self, command, key):
        """The command with its key if it is well formed and may differ, and then with a `DEL`."""
        if not well_formed(command) or not any(
            differs(command, is_there, self.now) for is_there in (True, False)
        ):
            return [(command, None)]
        return [(command, key), ([b"DEL", key], None)]

    def read(self):
        """What asks for one key."""
        name = self.dice.choice((b"GET", b"TTL", b"PTTL", b"EXPIRETIME", b"PEXPIRETIME", b"TYPE"))
        return [([self.case(name), self.key()], None)]

    def read_many(self):
        """What asks for several."""
        name = self.dice.choice((b"MGET", b"EXISTS"))
        keys = [self.key() for _ in range(self.dice.randrange(1, 4))]
        return [([self.case(name), *keys], None)]

    def delete(self):
        """What deletes."""
        name = self.dice.choice((b"DEL", b"UNLINK", b"GETDEL"))
        count = 1 if name == b"GETDEL" else self.dice.randrange(1, 4)
        return [([self.case(name), *(self.key() for _ in range(count))], None)]

    def talk(self):
        """What is about the conversation."""
        return [(words(line), None) for line in self.dice.choice((
            ["PING"], ["PING hello"], ["PING a b"], ["ECHO hello"], ["SELECT 0"], ["SELECT x"],
            ["CLIENT SETNAME shop", "CLIENT GETNAME", "CLIENT SETNAME ''", "CLIENT GETNAME"],
            ["CLIENT SETNAME"], ["CLIENT GETNAME"], ["CONFIG GET appendfsyncs"], ["TIME"],
            ["AUTH secret"], ["AUTH default secret"], ["AUTH nobody secret"], ["AUTH a b c"],
            ["HELLO 1"], ["HELLO x"], ["HELLO 3 AUTH nobody x"], ["HELLO 3 LOUDLY"], ["HELLO 3 SETNAME"],
            ["MULTI", "GET k", "SETEX k 60 v", "MULTI", "GET", "DISCARD"], ["EXEC"], ["DISCARD"],
            ["SCAN x"], ["SCAN 0 COUNT 0"], ["SCAN 0 COUNT x"], ["SCAN 0 MATCH"], ["SCAN 0 WITH it"],
            ["SUBSCRIBE some", "PING", "PSUBSCRIBE *nobody*", "GET k", "SUBSCRIBE other",
             "UNSUBSCRIBE some", "UNSUBSCRIBE other", "PUNSUBSCRIBE", "UNSUBSCRIBE", "GET k"],
        ))]

    def miscounted(self):
        """A command with too few or too many words."""
        name = self.dice.choice((
            b"GET", b"SET", b"SETEX", b"PSETEX", b"SETNX", b"MGET", b"GETDEL", b"DEL", b"EXISTS", b"TTL",
            b"PTTL", b"EXPIRE", b"PEXPIREAT", b"TYPE", b"ECHO", b"SELECT", b"DBSIZE", b"TIME", b"MULTI",
            b"SUBSCRIBE", b"EXPIRETIME", b"SCAN", b"RESET", b"UNLINK",
        ))
        most = {b"DBSIZE": 2, b"TIME": 2, b"MULTI": 2, b"RESET": 2}.get(name, 1)
        least = 1 if name in (b"DBSIZE", b"TIME", b"MULTI", b"RESET") else 0
        if name in (b"GET", b"GETDEL", b"TTL", b"PTTL", b"EXPIRETIME", b"TYPE", b"ECHO"):
            count = self.dice.choice((0, 2))
        elif name in (b"SETEX", b"PSETEX", b"SETNX"):
            count = self.dice.choice((0, 1, 4))
        else:
            count = self.dice.randrange(least, most)
        return [([self.case(name), *[self.key()] * count], None)]

    MAKERS = (set, setex, setnx, expire, read, read_many, delete, talk, miscounted)
    WEIGHTS = (20, 12, 2, 22, 24, 6, 6, 4, 2)


def well_formed(command):
    """Would Redis take it? Only then can it differ."""
    name, number = command[0].upper(), re.compile(rb"0|-?[1-9]\d*")

    def fits(word, unit, is_after, least=-(1 << 63)):
        most = (1 << 63) - (1 << 48 if is_after else 1)
        return number.fullmatch(word) and least <= int(word) * unit <= most and int(word) < 1 << 63

    unit = 1 if name.startswith(b"P") else 1_000
    options = [word.upper() for word in command[3:]]
    if name == b"SETNX":
        return True
    if name in (b"SETEX", b"PSETEX"):
        return fits(command[2], unit, True, least=1)
    if name == b"SET":
        given = {}
        while options:
            option = options.pop(0)
            if option in (b"EX", b"PX", b"EXAT", b"PXAT"):
                given[option] = options.pop(0) if options else b""
            elif option in (b"NX", b"XX", b"GET", b"KEEPTTL"):
                given[option] = None
            else:
                return False
        expiries = [option for option in given if option not in (b"NX", b"XX", b"GET")]
        # Said twice in the same unit, the later counts.
        good = all(fits(given[option], 1 if option.startswith(b"P") else 1_000,
                        not option.endswith(b"AT"), least=1)
                   for option in expiries if option != b"KEEPTTL")
        return good and len(expiries) <= 1 and not {b"NX", b"XX"} <= given.keys()
    kinds = set(options)
    is_clear = not (b"NX" in kinds and len(kinds) > 1) and not {b"GT", b"LT"} <= kinds
    is_known = kinds <= {b"NX", b"XX", b"GT", b"LT"}
    return fits(command[2], unit, not name.endswith(b"AT")) and is_known and is_clear


if __name__ == "__main__":
    sys.exit(main())
