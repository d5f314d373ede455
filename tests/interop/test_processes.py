"""The server in several processes, started as users do, and ended in every way."""

from __future__ import annotations

import base64
import contextlib
import os
import poplib
import re
import signal
import smtplib
import socket
import ssl
import subprocess
import sys
import time
from pathlib import Path

from twisted.trial.unittest import SkipTest

from tests.interop import test_crash
from tests.interop.ourselves import PASSWORD, MailframeCase
from tests.interop.programs import free_ports, maildir
from tests.interop.test_crash import CRASHES, CrashCase


class ProcessesCase(MailframeCase):
    """A mailframe with two workers."""

    processes = 2

    def configure(self, *args: object, **kwargs: object) -> None:
        """Write the configuration."""
        super().configure(*args, **kwargs)  # type: ignore[arg-type]  # passed on as they are
        text = self.configuration.read_text()
        self.write("mailframe.toml", f"processes = {self.processes}\n{text}")

    def serve_mail(self, *args: object, **kwargs: object) -> None:
        """Configure and start, and wait for all workers."""
        super().serve_mail(*args, **kwargs)
        self.wait_for("all workers", self.all_serve)

    def workers(self) -> list[int]:
        """The process ids of the workers."""
        assert self.server is not None
        path = Path(f"/proc/{self.server.pid}/task/{self.server.pid}/children")
        with contextlib.suppress(OSError):
            return [int(pid) for pid in path.read_text().split()]
        return []

    def all_serve(self) -> bool:
        """Whether each worker waits for connections."""
        sockets = self.configuration.read_text().count("listen = ")
        workers = self.workers()
        return len(workers) == self.processes and all(polls(pid, sockets) for pid in workers)

    def end_all(self, number: int) -> None:
        """End all workers, and wait until others serve.

        One that is stopping may look as if it served, and breaks off what has just begun.
        """
        before = set(self.workers())
        # Those that serve say so: whoever ends before that is heard could not be started.
        time.sleep(0.5)
        for pid in before:
            os.kill(pid, number)
        self.wait_for("others", lambda: not before & set(self.workers()) and self.all_serve())

    def log_of(self, worker: int) -> str:
        """What a worker has logged, by its number."""
        lines = self.logs_of_server().splitlines()
        return "\n".join(line for line in lines if f"[{worker} " in line)

    def logs_of_server(self) -> str:
        """What the server has logged."""
        assert self.server is not None
        log: Path = self.server.log  # type: ignore[attr-defined]  # `start` puts it there
        return log.read_text(errors="replace")

    def serve(self, configuration: Path, *ports: int) -> subprocess.Popen[bytes]:
        """Start with a log that is to be read by people."""
        process = self.start(
            *(sys.executable, "-m", "twisted", "--log-level=info", "--log-format=text"),
            *("mailframe", "-c", configuration),
            cwd=self.folder,
        )
        for port in ports:
            self.wait_for_port(port, process)
        return process


def polls(pid: int, sockets: int) -> bool:
    """Whether a process listens at its sockets: an epoll watches them and its other files."""
    with contextlib.suppress(OSError):
        for info in Path(f"/proc/{pid}/fdinfo").iterdir():
            # with the pipe to the parent, the waker and the one that wakes for signals
            if info.read_text().count("tfd:") >= sockets + 3:
                return True
    return False


class ArrivalTests(ProcessesCase):
    """Mail on its ordinary way."""

    def test_everything_arrives_once(self) -> None:
        """What two processes take in together must be delivered once each, and by both."""
        source = self.program("smtp-source", "postfix")
        self.serve_mail()
        self.run_program(
            *(source, "-s", "20", "-m", "1000", "-l", "1000", "-d", "-S", "to be counted"),
            *("-f", "a@far.example", "-t", "jsmith@demo.example", f"127.0.0.1:{self.smtp}"),
        )
        inbox = self.mailbox("jsmith")
        self.wait_for("all of them", lambda: len(maildir(inbox)) >= 1000)
        self.wait_for("an empty queue", self.queue_is_empty)
        self.assertEqual(len(maildir(inbox)), 1000)
        for worker in (1, 2):
            # 20 connections; with chances even, 3 or fewer at one worker come once in 770 runs
            taken = set(re.findall(r"accepted|delivered", self.log_of(worker)))
            self.assertTrue(taken, f"worker {worker} had nothing to do")

    def queue_is_empty(self) -> bool:
        output = self.mailframe("queue", "list", "-c", self.configuration, "--json").stdout
        return b'"messages": []' in output

    def test_a_mailbox_is_open_once(self) -> None:
        """Two sessions in two processes would delete each other's messages."""
        self.serve_mail()
        self.submit(["jsmith@demo.example"])
        self.wait_for("the message", lambda: maildir(self.mailbox("jsmith")))
        with contextlib.ExitStack() as stack:

            def connect() -> poplib.POP3:
                client = poplib.POP3("127.0.0.1", self.pop3, timeout=30)
                stack.callback(client.close)
                return client

            first = connect()
            first.user("jsmith@demo.example")
            first.pass_(PASSWORD)
            others = [connect() for _ in range(16)]
            for client in others:
                client.user("jsmith@demo.example")
                with self.assertRaises(poplib.error_proto) as caught:
                    client.pass_(PASSWORD)
                self.assertIn(b"IN-USE", caught.exception.args[0])
            for worker in (1, 2):
                self.assertIn("jsmith@demo.example", self.log_of(worker))
            first.quit()
            self.assertEqual(len(self.fetch("jsmith")), 1)


class LimitTests(ProcessesCase):
    """What one client may do over all processes."""

    def connect(self, count: int) -> list[smtplib.SMTP]:
        """Connections to submission, which both workers serve."""
        clients = []
        for _ in range(count):
            client = smtplib.SMTP("127.0.0.1", self.submission, "client.example", timeout=30)
            self.addCleanup(client.close)
            client.ehlo()
            clients.append(client)
        return clients

    def logs_in(self, client: smtplib.SMTP, password: str = PASSWORD) -> int:
        """Try a login once; its code."""
        response = base64.b64encode(f"\0angelo@demo.example\0{password}".encode()).decode()
        return client.docmd("AUTH", f"PLAIN {response}")[0]

    def test_failed_logins(self) -> None:
        """With each process a guesser would have as many guesses more, and all again after each
        SIGHUP or crash.
        """
        self.serve_mail("[limits]\nlogin_failures_per_login = 3\nlogin_window = 3600\n")
        assert self.server is not None
        first, *clients = self.connect(13)
        for _ in range(3):
            self.assertEqual(self.logs_in(first, "wrong"), 535)
        # though the password is right; so nobody learns that it is
        self.assertEqual({self.logs_in(client) for client in clients}, {454})
        locked = "not admitted from 127.0.0.1"
        self.wait_for("both logs", lambda: all(locked in self.log_of(n) for n in (1, 2)))
        self.server.send_signal(signal.SIGHUP)
        again = "configuration was read again"
        self.wait_for("the reload", lambda: all(again in self.log_of(n) for n in (1, 2)))
        (dead, _) = self.workers()
        os.kill(dead, signal.SIGKILL)
        self.wait_for("another", lambda: dead not in self.workers() and self.all_serve())
        self.assertEqual({self.logs_in(client) for client in self.connect(12)}, {454})

    def test_connections(self) -> None:
        """With each process a client would have as many connections more; or a crash would take
        them from it for ever.
        """
        self.serve_mail("[limits]\nconnections_per_address = 4\n")
        clients = self.connect(4)
        for _ in range(4):
            with self.assertRaises(smtplib.SMTPConnectError) as caught:
                smtplib.SMTP("127.0.0.1", self.submission, timeout=30)
            self.assertEqual(caught.exception.smtp_code, 421)
        self.end_all(signal.SIGKILL)
        for client in clients:
            client.close()
        self.connect(4)


class DeathTests(ProcessesCase):
    """A worker, or the supervising process, comes to its end."""

    def test_leases_of_a_dead_worker(self) -> None:
        """What it was delivering must go on at once, and not when its leases have run out."""
        with socket.create_server(("127.0.0.1", 0)) as hop:
            hop.settimeout(60)
            where = f"tcp:127.0.0.1:{hop.getsockname()[1]}"
            rule = f'[[routing.rule]]\nrecipients = ["*@far.example"]\nvia = "{where}"\n'
            self.serve_mail(rules=f'{rule}tls = "none"\n')
            self.submit(["x@far.example"])
            attempt, _ = hop.accept()
            self.addCleanup(attempt.close)
            tried_by = next(p for p in self.workers() if is_connected(p, attempt))
            os.kill(tried_by, signal.SIGKILL)
            again, _ = hop.accept()  # leases last for five minutes
            self.addCleanup(again.close)
        self.wait_for("the replacement", self.all_serve)
        self.assertNotIn(tried_by, self.workers())
        self.assertIn("signal 9 (SIGKILL)", self.logs_of_server())

    def test_a_worker_that_is_asked_to_stop(self) -> None:
        """An operator may restart one worker after the other; nobody may be turned away."""
        self.serve_mail()
        for pid in self.workers():
            os.kill(pid, signal.SIGTERM)
            os.kill(pid, signal.SIGTERM)
            self.wait_for("its end", lambda pid=pid: pid not in self.workers())
            self.submit(["jsmith@demo.example"])
            self.wait_for("the replacement", self.all_serve)
        self.wait_for("both", lambda: len(maildir(self.mailbox("jsmith"))) == 2)
        self.assertNotIn("Traceback", self.logs_of_server())

    def test_stop(self) -> None:
        """A stop must end all processes and finish what a client has begun."""
        self.serve_mail()
        assert self.server is not None
        workers = self.workers()
        with contextlib.closing(smtplib.SMTP("127.0.0.1", self.smtp, "client", 30)) as client:
            client.ehlo()
            client.mail("a@far.example")
            client.rcpt("jsmith@demo.example")
            client.putcmd("data")
            client.getreply()
            os.killpg(self.server.pid, signal.SIGTERM)  # as a service manager does
            self.wait_for_refusal()
            client.send(b"Subject: x\r\n\r\nhello\r\n.\r\n")
            self.assertEqual(client.getreply()[0], 250)
        self.assertEqual(self.server.wait(30), -signal.SIGTERM)
        self.assertEqual([pid for pid in workers if is_alive(pid)], [])
        self.server = self.serve(self.configuration, self.smtp, self.submission)
        self.wait_for("the message", lambda: maildir(self.mailbox("jsmith")))

    def test_the_supervising_process_is_killed(self) -> None:
        """Workers that nobody watches must not hold the ports against the next server."""
        self.serve_mail()
        assert self.server is not None
        workers = self.workers()
        self.server.kill()
        self.server.wait(30)
        self.wait_for("the workers' end", lambda: not any(map(is_alive, workers)))
        self.wait_for_refusal()
        self.server = self.serve(self.configuration, self.smtp, self.submission)
        self.submit(["jsmith@demo.example"])

    def wait_for_refusal(self) -> None:
        def refused() -> bool:
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", self.smtp)) != 0

        self.wait_for("nobody listens", refused)


class LoadTests(CrashCase, ProcessesCase):
    """kill -9 of workers, again and again, under load."""

    def test_nothing_acknowledged_is_lost(self) -> None:
        """After 250 the message is ours: each one is in the mailbox in the end, whole."""
        self.serve_mail()
        with self.senders():
            for turn in range(CRASHES):
                self.let_some_pass()
                self.wait_for("two workers", lambda: len(self.workers()) == 2)
                os.kill(self.workers()[turn % 2], signal.SIGKILL)
        self.everything_arrives()


class PowerCutTests(ProcessesCase, test_crash.PowerCutTests):
    """The disk forgets what was not synced, while two processes write to it."""

    def end(self, process: subprocess.Popen[bytes], number: int = signal.SIGTERM) -> None:
        """End a server with its workers, which keep its disk in use."""
        workers = self.workers() if process is self.server else []
        super().end(process, number)
        self.wait_for("the workers' end", lambda: not any(map(holds_files, workers)))


class ReloadTests(ProcessesCase):
    """SIGHUP."""

    def accepts(self, recipient: str) -> bool:
        """Whether all of some connections accept a recipient."""
        with contextlib.ExitStack() as stack:
            replies = []
            for _ in range(12):
                client = smtplib.SMTP("127.0.0.1", self.smtp, "client", timeout=30)
                stack.callback(client.close)
                client.ehlo()
                client.mail("a@far.example")
                replies.append(client.rcpt(recipient)[0])
        return replies == [250] * 12

    def test_every_worker_reads_again(self) -> None:
        """Otherwise it would be chance whether a person's mail is taken."""
        self.serve_mail()
        assert self.server is not None
        self.assertFalse(self.accepts("new@demo.example"))
        name, add = "new@demo.example", ("account", "add", "--password-stdin")
        self.mailframe(*add, "-c", self.configuration, name, input=PASSWORD.encode() + b"\n")
        self.server.send_signal(signal.SIGHUP)
        self.wait_for("the account", lambda: self.accepts(name))
        (one, _) = self.workers()
        os.kill(one, signal.SIGKILL)
        self.wait_for("the replacement", lambda: one not in self.workers() and self.all_serve())
        self.assertTrue(self.accepts(name))

    def test_a_mistake_changes_nothing(self) -> None:
        """A slip in the file must disturb nobody, nor keep a dead worker from being replaced."""
        self.serve_mail()
        assert self.server is not None
        self.configuration.write_text("hostnme = 3")
        self.server.send_signal(signal.SIGHUP)
        self.wait_for("the report", lambda: "configuration in force stays" in self.logs_of_server())
        (one, two) = self.workers()
        os.kill(one, signal.SIGKILL)
        self.wait_for("the replacement", lambda: one not in self.workers() and self.all_serve())
        self.assertIn(two, self.workers())
        self.submit(["jsmith@demo.example"])


class StartTests(ProcessesCase):
    """Ways to start, and what keeps it from starting."""

    def fails(self) -> str:
        """What is said by a server that can't start."""
        process = self.start(
            *(sys.executable, "-m", "twisted", "--log-level=critical", "mailframe"),
            *("-c", self.configuration),
            cwd=self.folder,
        )
        self.assertEqual(process.wait(30), 1)
        log: Path = process.log  # type: ignore[attr-defined]  # `start` puts it there
        return log.read_text()

    def test_a_port_in_use(self) -> None:
        """One message, one exit status, and no process that stays."""
        self.configure()
        with socket.create_server(("127.0.0.1", self.smtp)):
            said = self.fails()
        expected = f'[[server]] "mx" can\'t listen on "tcp:{self.smtp}'
        self.assertIn(f"mailframe: {self.configuration}: {expected}", said)

    def test_a_part_that_cannot_be_built(self) -> None:
        """The same for what only shows when the parts are built."""
        self.configure()
        (self.folder / "accounts.toml").unlink()
        expected = f"mailframe: {self.configuration}: [accounts] plugin 'file'"
        self.assertIn(expected, self.fails())

    def test_sockets_of_every_kind(self) -> None:
        """UNIX sockets keep their permissions and name when a worker ends; TLS is TLS."""
        self.make_certificate()
        path = self.folder / "smtp.sock"
        (wrapped,) = free_ports(1)
        keys = f"privateKey={self.folder}/key.pem:certKey={self.folder}/chain.pem"
        self.serve_mail(
            f'[[server]]\nname = "unix"\nprotocol = "smtp"\nlisten = "unix:{path}:mode=600"\n'
            f'[[server]]\nname = "wrapped"\nprotocol = "smtp"\n'
            f'listen = "ssl:{wrapped}:interface=127.0.0.1:{keys}"\n'
        )
        self.end_all(signal.SIGTERM)
        self.assertEqual(path.stat().st_mode & 0o777, 0o600)
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(30)
            client.connect(str(path))
            self.assertEqual(client.recv(4), b"220 ")
        with (
            socket.create_connection(("127.0.0.1", wrapped), 30) as plain,
            self.trusting().wrap_socket(plain, server_hostname="localhost") as tls,
        ):
            self.assertEqual(tls.recv(4), b"220 ")

    def test_systemd(self) -> None:
        """Sockets that systemd passed are shared like those that were opened here."""
        self.configure()
        listen = f"tcp:{self.smtp}:interface=127.0.0.1"
        text = self.configuration.read_text().replace(listen, "systemd:domain=INET:name=mx")
        self.configuration.write_text(text)
        with socket.create_server(("127.0.0.1", self.smtp)) as passed:
            number = passed.fileno()
            command = f"-m twisted mailframe -c {self.configuration}".split()
            script = (
                "import os, sys; "
                f"os.dup2({number}, 3); "
                'os.environ.update(LISTEN_FDS="1", LISTEN_FDNAMES="mx"); '
                'os.environ["LISTEN_PID"] = str(os.getpid()); '
                f"os.execv(sys.executable, [sys.executable, *{command!r}])"
            )
            self.server = self.start(
                sys.executable, "-c", script, cwd=self.folder, pass_fds=(number,)
            )
            self.wait_for("all workers", self.all_serve)
            with smtplib.SMTP("127.0.0.1", self.smtp, "client", timeout=30) as client:
                self.assertEqual(client.ehlo()[0], 250)
            os.kill(self.workers()[0], signal.SIGKILL)
            os.kill(self.workers()[1], signal.SIGKILL)
            with smtplib.SMTP("127.0.0.1", self.smtp, "client", timeout=30) as client:
                self.assertEqual(client.ehlo()[0], 250)

    def test_daemon(self) -> None:
        """As a daemon: the log, with the workers' lines, in its file; a process id; a clean end."""
        self.configure()
        self.be_a_daemon()

    def test_privileges(self) -> None:
        """With another user: a key that only root reads, and no privileges in the workers."""
        self.need_root()
        try:
            subprocess.run([sys.executable, "-c", ""], user=65534, check=True)
        except (OSError, subprocess.CalledProcessError):
            raise SkipTest(f"the user nobody can't run {sys.executable}") from None
        self.configure(tls="starttls")
        os.chown(self.folder, 65534, 65534)
        for name in ("mailframe.toml", "accounts.toml"):
            os.chown(self.folder / name, 65534, 65534)
        self.assertEqual((self.folder / "key.pem").stat().st_mode & 0o777, 0o600)
        self.be_a_daemon("--uid=65534", "--gid=65534", context=self.trusting(), user=65534)

    def be_a_daemon(
        self, *options: str, context: ssl.SSLContext | None = None, user: int = 0
    ) -> None:
        pid_file, log = self.folder / "pid", self.folder / "log"
        self.run_program(
            *(sys.executable, "-c", "from twisted.scripts.twistd import run; run()", *options),
            *(f"--pidfile={pid_file}", f"--logfile={log}", f"--rundir={self.folder}"),
            *("mailframe", "-c", self.configuration),
        )
        pid = int(pid_file.read_text())
        self.addCleanup(end, pid)
        children = Path(f"/proc/{pid}/task/{pid}/children")
        self.wait_for("two workers", lambda: len(children.read_text().split()) == 2)
        with smtplib.SMTP("localhost", self.submission, "client", timeout=30) as client:
            if context is not None:
                client.starttls(context=context)
            client.login("angelo@demo.example", PASSWORD)
        for worker in children.read_text().split():
            self.assertEqual(os.stat(f"/proc/{worker}").st_uid, user)
        self.wait_for("a line", lambda: re.search(r"\[[12] mailframe\.\S+#info\]", log.read_text()))
        end(pid)
        self.wait_for("its end", lambda: not is_alive(pid))
        if not user:  # else it may not remove it, and says so
            self.assertFalse(pid_file.exists())


def end(pid: int) -> None:
    """End a daemon."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)


def is_alive(pid: int) -> bool:
    """Whether a process has not ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def holds_files(pid: int) -> bool:
    """Whether a process, or a thread that has outlived its first one, may have files open."""
    with contextlib.suppress(OSError):
        return is_alive(pid) or len(list(Path(f"/proc/{pid}/task").iterdir())) > 1
    return False


def is_connected(pid: int, peer: socket.socket) -> bool:
    """Whether a process holds the other end of a loopback connection."""
    host, port = peer.getpeername()
    local = f"{int.from_bytes(socket.inet_aton(host), 'little'):08X}:{port:04X}"
    inodes = {
        line.split()[9]
        for line in Path("/proc/net/tcp").read_text().splitlines()
        if line.split()[1] == local
    }
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            name = os.readlink(link)
            if name.startswith("socket:[") and name[8:-1] in inodes:
                return True
    return False
