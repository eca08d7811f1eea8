"""Private database servers: MariaDB and PostgreSQL from Debian's packages, and a way to break the line.

Each lives in a temporary directory of its own on a free loopback port, under the unprivileged user
that its package made when the suite runs as root, and is stopped by the id of its process. Both are
driven in the same words, so that a suite can ask the same of each. Nothing here knows Duly.
"""

import glob
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import urllib.parse

import pg8000.dbapi
import pymysql

from blackbox import free_port, until

USER, PASSWORD, NAME = "duly", "p@ss/w:rd?&#", "shop"
"""Who connects, how, and to which database: a password with everything that a DSN escapes."""


class Database:
    """One server process over one directory; may be killed and started again."""

    scheme, owner = None, None
    """The word before :// and the user the server runs as when the suite is root's."""
    encrypted, elsewhere = (), ()
    """Options of the server: a certificate to show, a time zone far from UTC."""
    instant, now = None, None
    """A column for an instant without its zone, and the clock in milliseconds since 1970."""
    mark = None
    """What stands around a quoted name."""
    nul_is_refused = None
    """What it says to a text with NUL in it, if it does not take one."""

    def __init__(self, options=()):
        self.directory = tempfile.mkdtemp(prefix=f"duly-{self.scheme}-")
        self.port, self.process, self.options = free_port(), None, list(options)
        self.as_user = {}
        if os.getuid() == 0:
            account = pwd.getpwnam(self.owner)
            os.chown(self.directory, account.pw_uid, account.pw_gid)
            self.as_user = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
        self.log = os.path.join(self.directory, "log")
        self.kept, self.is_made, self.stalled = None, False, []

    def give(self, name, text):
        """A file for the server alone."""
        path = os.path.join(self.directory, name)
        with open(path, "w", encoding="utf-8") as out:
            out.write(text)
        os.chmod(path, 0o600)
        if self.as_user:
            os.chown(path, self.as_user["user"], self.as_user["group"])
        return path

    def prepare(self, line):
        """Runs a program of the server's to its end."""
        said = subprocess.run(
            line, cwd=self.directory, capture_output=True, text=True, check=False, **self.as_user
        )
        assert said.returncode == 0, f"{line[0]}: {said.stdout}{said.stderr}"

    def start(self):
        """Starts it and waits until it takes connections."""
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                self.line() + self.options,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.directory,
                start_new_session=True,
                **self.as_user,
            )
        until(self.ready, f"{self.scheme} takes connections")
        return self

    def ready(self):
        """Whether it takes connections."""
        if self.process.poll() is not None:
            with open(self.log, encoding="utf-8", errors="replace") as log:
                raise AssertionError(f"{self.scheme} ended:\n{log.read()[-3000:]}")
        try:
            self.connect().close()
            return True
        except (pymysql.err.MySQLError, pg8000.dbapi.Error, OSError):
            return False

    def stall(self):
        """As slow as can be: it and its children do nothing, and the kernel still takes connections."""
        number = self.process.pid
        with open(f"/proc/{number}/task/{number}/children", encoding="utf-8") as children:
            self.stalled = [number, *map(int, children.read().split())]
        for number in self.stalled:
            os.kill(number, signal.SIGSTOP)

    def go_on(self):
        """It goes on where it was."""
        for number in self.stalled:
            try:
                os.kill(number, signal.SIGCONT)
            except ProcessLookupError:
                """It was killed meanwhile."""
        self.stalled = []

    def kill(self):
        """SIGKILL to it and its children: no goodbye."""
        self.go_on()
        self.kept = None
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def stop(self):
        """The end of it and of its directory."""
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    def dsn(self, port=None, options="", host="127.0.0.1"):
        """What Duly is told."""
        password = urllib.parse.quote(PASSWORD, safe="")
        return f"{self.scheme}://{USER}:{password}@{host}:{port or self.port}/{NAME}{options}"

    def quoted(self, name):
        """A name as it stands in a statement, whatever is in it."""
        return self.mark + name.replace(self.mark, self.mark * 2) + self.mark

    def session(self):
        """A connection of its administrator's that is kept."""
        if self.kept is None:
            self.kept = Session(self)
        return self.kept

    def run(self, *statements):
        """Runs statements as its administrator, each by itself."""
        for statement in statements:
            self.session().run(statement)

    def rows(self, question, *values):
        """The rows of an answer."""
        return self.session().rows(question, *values)

    def one(self, question, *values):
        """The only value of an answer."""
        return self.rows(question, *values)[0][0]


class Session:
    """A connection of the administrator's; each statement for itself, but after a `BEGIN`."""

    def __init__(self, database):
        self.connection = database.connect()

    def run(self, statement, *values):
        """Runs one statement."""
        cursor = self.connection.cursor()
        if values:
            cursor.execute(statement, values)
        else:
            cursor.execute(statement)
        return cursor

    def rows(self, question, *values):
        """The rows of an answer."""
        return [list(row) for row in self.run(question, *values).fetchall()]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        try:
            self.connection.close()
        except (pymysql.err.MySQLError, pg8000.dbapi.Error, OSError):
            """The server was killed meanwhile."""


class Mariadb(Database):
    """MariaDB."""

    scheme, owner = "mysql", "mysql"
    text, lines = "LONGTEXT", "JSON_TABLE"
    mark = "`"
    encrypted = ("--ssl-cert={certificate}", "--ssl-key={key}")
    elsewhere = ("--default-time-zone=+05:30",)
    instant, now = "DATETIME(3)", "ROUND(UNIX_TIMESTAMP(SYSDATE(3)) * 1000)"
    commit = b"\x03COMMIT"
    """A commit as it goes over the line."""
    pause = "SLEEP({})"
    waiting = (
        "SELECT CAST(variable_value AS INT) FROM information_schema.global_status"
        " WHERE variable_name = 'INNODB_ROW_LOCK_CURRENT_WAITS'"
    )
    locks_rarely = ()

    def make(self):
        """A new directory with the shop's database in it, and starts it."""
        install = ["mariadb-install-db", "--no-defaults", f"--datadir={self.directory}/data"]
        install += ["--auth-root-authentication-method=normal", "--skip-test-db"]
        self.prepare(install)
        self.start()
        self.run(
            f"CREATE DATABASE {NAME}",
            f"CREATE USER {USER} IDENTIFIED BY '{PASSWORD}'",
        )
        self.kept, self.is_made = None, True
        return self

    def line(self):
        """The server's command line."""
        server = shutil.which("mariadbd") or "/usr/sbin/mariadbd"
        return [
            server, "--no-defaults", f"--datadir={self.directory}/data", f"--port={self.port}",
            "--bind-address=127.0.0.1", f"--socket={self.socket}", "--skip-name-resolve",
            f"--pid-file={self.directory}/pid", "--character-set-server=utf8mb4",
            "--innodb-buffer-pool-size=64M",
        ]

    @property
    def socket(self):
        """Its Unix socket."""
        return f"{self.directory}/socket"

    def connect(self):
        """As its administrator, through the socket: always let in."""
        return pymysql.connect(
            unix_socket=self.socket, user="root", charset="utf8mb4", connect_timeout=5,
            autocommit=True, init_command="SET time_zone = '+00:00'",
            database=NAME if self.is_made else None,
        )

    def read_only(self, is_so):
        """For everybody but the administrator."""
        self.run(f"SET GLOBAL read_only = {int(is_so)}")

    def no_connections(self, is_so):
        """For Duly's user, and ends those that it has."""
        self.run(f"ALTER USER {USER} WITH MAX_USER_CONNECTIONS {1 if is_so else 0}")
        self.disconnect()
        if is_so:
            self.taken = pymysql.connect(
                host="127.0.0.1", port=self.port, user=USER, password=PASSWORD, database=NAME
            )
        else:
            self.taken.close()

    def insist(self):
        """From now on Duly's user has to come encrypted."""
        self.run(f"ALTER USER {USER} REQUIRE SSL")

    def disconnect(self):
        """Ends the connections of Duly's user."""
        question = f"SELECT id FROM information_schema.processlist WHERE user = '{USER}'"
        for (number,) in self.rows(question):
            try:
                self.run(f"KILL {number}")
            except pymysql.err.MySQLError:
                """It went by itself."""
        until(lambda: not self.rows(question), "its connections have ended")

    def connections(self):
        """How many Duly's user has."""
        return self.one(
            f"SELECT count(*) FROM information_schema.processlist WHERE user = '{USER}'"
        )


class Postgres(Database):
    """PostgreSQL."""

    scheme, owner = "postgres", "postgres"
    text, lines = "TEXT", "jsonb_to_recordset"
    mark = '"'
    encrypted = ("-c", "ssl=on", "-c", "ssl_cert_file={certificate}", "-c", "ssl_key_file={key}")
    elsewhere = ("-c", "timezone=Asia/Kolkata")
    instant, now = "TIMESTAMP(3)", "CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT)"
    nul_is_refused = "0x00"
    commit = b"COMMIT\0"
    pause = "(SELECT count(*) FROM pg_sleep({}))"
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    locks_rarely = ("SET deadlock_timeout = '30s'",)

    def __init__(self, options=()):
        super().__init__(options)
        found = sorted(glob.glob("/usr/lib/postgresql/*/bin"))
        assert found, "PostgreSQL is not installed"
        self.programs = found[-1]

    def make(self):
        """A new directory with the shop's database in it, and starts it."""
        init = [f"{self.programs}/initdb", "--pgdata", f"{self.directory}/data", "--no-sync"]
        init += ["--username=root", "--auth-local=trust", "--auth-host=scram-sha-256"]
        init += ["--encoding=UTF8", "--no-locale"]
        self.prepare(init)
        self.start()
        self.run(
            f"CREATE ROLE {USER} LOGIN PASSWORD '{PASSWORD}'",
            f"CREATE DATABASE {NAME}",
        )
        self.kept, self.is_made = None, True
        return self

    def line(self):
        """The server's command line."""
        return [
            f"{self.programs}/postgres", "-D", f"{self.directory}/data", "-p", str(self.port),
            "-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={self.directory}",
        ]

    @property
    def socket(self):
        """Its Unix socket."""
        return f"{self.directory}/.s.PGSQL.{self.port}"

    def connect(self):
        """As its administrator, through the socket: always let in."""
        name = NAME if self.is_made else "postgres"
        connection = pg8000.dbapi.connect(
            user="root", unix_sock=self.socket, database=name, timeout=20
        )
        connection.autocommit = True
        return connection

    def read_only(self, is_so):
        """For everybody, unless they say otherwise."""
        word = "on" if is_so else "off"
        self.run(
            f"ALTER SYSTEM SET default_transaction_read_only = {word}", "SELECT pg_reload_conf()"
        )
        until(
            lambda: self.one("SHOW default_transaction_read_only") == word,
            "the setting has been read",
        )

    def no_connections(self, is_so):
        """For Duly's user, and ends those that it has."""
        self.run(f"ALTER ROLE {USER} CONNECTION LIMIT {0 if is_so else -1}")
        self.disconnect()

    def insist(self):
        """From now on Duly's user has to come encrypted."""
        path = f"{self.directory}/data/pg_hba.conf"
        with open(path, encoding="utf-8") as old:
            lines = old.read().replace("\nhost ", "\nhostssl ")
        with open(path, "w", encoding="utf-8") as new:
            new.write(lines)
        self.run("SELECT pg_reload_conf()")

    def disconnect(self):
        """Ends the connections of Duly's user."""
        self.run(
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{USER}'"
        )
        until(lambda: self.connections() == 0, "its connections have ended")

    def connections(self):
        """How many Duly's user has."""
        return self.one(f"SELECT count(*) FROM pg_stat_activity WHERE usename = '{USER}'")


class Proxy:
    """A line to a server that can be cut at a word: just before it is heard, or just after.

    `cut` names the word and whether the server still hears it. The line is cut once, without the
    answer reaching the client; `cuts` counts. While it is not `free` neither end notices.
    """

    def __init__(self, port):
        self.target, self.cut, self.cuts = port, None, 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.lock, self.free = threading.Lock(), threading.Event()
        self.free.set()
        threading.Thread(target=self.listen, daemon=True).start()

    def cut_at(self, word, is_heard):
        """From now on, once."""
        with self.lock:
            self.cut = (word, is_heard)

    def listen(self):
        """Takes connections until the listener is closed."""
        while True:
            try:
                client, _ = self.listener.accept()
                server = socket.create_connection(("127.0.0.1", self.target))
            except OSError:
                return
            gone = threading.Event()
            for work in (self.forth, self.back):
                threading.Thread(target=work, args=(client, server, gone), daemon=True).start()

    def forth(self, client, server, gone):
        """What the client says, watching for the word."""
        try:
            while data := client.recv(65536):
                with self.lock:
                    cut = self.cut if self.cut and self.cut[0] in data else None
                    if cut:
                        self.cut = None
                if cut:
                    before = self.cuts
                    gone.set()
                    if cut[1]:
                        server.sendall(data)
                        until(lambda: self.cuts > before, "the server has answered")
                    else:
                        self.cuts += 1
                    self.free.wait()
                    break
                server.sendall(data)
        except OSError:
            """One of the two has gone."""
        hang_up(client, server)

    def back(self, client, server, gone):
        """What the server says, until the word was heard: from then on nothing gets through."""
        try:
            while data := server.recv(65536):
                if gone.is_set():
                    self.cuts += 1
                    break
                client.sendall(data)
        except OSError:
            """One of the two has gone."""
        if not gone.is_set():
            hang_up(client, server)

    def stop(self):
        """Takes no more connections."""
        self.listener.close()


def hang_up(*ends):
    """Ends connections at once, also for those who wait on them."""
    for end in ends:
        try:
            end.shutdown(socket.SHUT_RDWR)
        except OSError:
            """It was not connected any more."""
        end.close()
