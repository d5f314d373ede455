"""Foreign programs log in with every mechanism that they and we know, and we at a foreign one."""

from __future__ import annotations

import base64
import json
import smtplib
from pathlib import Path

from tests.interop.ourselves import PASSWORD, MailframeCase
from tests.interop.postfix import write_postfix
from tests.interop.programs import free_ports, maildir

USER = "angelo@demo.example"
MESSAGE = b"From: angelo@demo.example\nTo: jsmith@demo.example\nSubject: by hand\n\nHello\n"
TOKEN = "mF_9.B5f-4.1JqM"
# A plugin of twisted.cred.strcred, as somebody might write it for a provider of tokens.
PLUGIN = """
from twisted.cred.error import UnauthorizedLogin
from twisted.cred.strcred import ICheckerFactory
from twisted.plugin import IPlugin
from zope.interface import implementer

from mailframe.credentials import IBearerToken


class Checker:
    credentialInterfaces = (IBearerToken,)

    def __init__(self, token, user):
        self.token, self.user = token.encode(), user.encode()

    def requestAvatarId(self, credentials):
        if credentials.token != self.token:
            raise UnauthorizedLogin("unknown token")
        return self.user


@implementer(ICheckerFactory, IPlugin)
class Factory:
    authType = "token"
    authHelp = "One token of one user."
    argStringFormat = "token:user"
    credentialInterfaces = Checker.credentialInterfaces

    def generateChecker(self, argument):
        return Checker(*argument.split(":"))


factory = Factory()
"""


class AuthenticationCase(MailframeCase):
    """A mailframe with TLS, whose log tells with what somebody logged in."""

    def serve_tls(self, *checkers: str, **kwargs: object) -> None:
        """Start it, with more sources of logins than the accounts file."""
        self.configure(tls="starttls", **kwargs)  # type: ignore[arg-type]  # passed on as they are
        if checkers:
            named = ", ".join(f'"{each}"' for each in checkers)
            text = self.configuration.read_text()
            key = 'path = "accounts.toml"\n'
            self.configuration.write_text(text.replace(key, f"{key}checkers = [{named}]\n"))
        self.server = self.serve(self.configuration, self.smtp, self.submission, self.pop3)

    def add_token_plugin(self) -> None:
        """Install a checker of tokens where the server finds it."""
        self.write("more/twisted/plugins/tests_token.py", PLUGIN)
        self.environment["PYTHONPATH"] = str(self.folder / "more")

    def arrives(self) -> None:
        """A message that was submitted is in jsmith's mailbox."""
        self.wait_for("a message", lambda: maildir(self.mailbox("jsmith")))


class SubmissionTests(AuthenticationCase):
    """Clients that send."""

    def gsasl(self, *options: str, user: str = USER, password: str = PASSWORD) -> str:
        """A login with GNU SASL; returns what was said."""
        gsasl = self.program("gsasl", "gsasl")
        done = self.run_program(
            *(gsasl, "--smtp", "--connect", f"127.0.0.1:{self.submission}", "--quiet"),
            *("--x509-ca-file", self.folder / "ca.pem", "-a", user, "-p", password, *options),
            input=b"QUIT\r\n",
            check=False,
        )
        return done.stdout.decode(errors="replace")

    def test_gsasl(self) -> None:
        """GNU SASL takes the strongest, which is bound to the connection (RFC 9266)."""
        self.serve_tls()
        said = self.gsasl("--starttls")
        self.assertIn("\nAUTH SCRAM-SHA-256-PLUS", said)
        self.assertIn("235 2.7.0 authenticated", said)
        for mechanism, *options in (
            ("SCRAM-SHA-256", "--no-cb", "--starttls"),
            ("SCRAM-SHA-256", "--no-starttls"),
            ("SCRAM-SHA-256-PLUS", "--starttls", "-z", ""),
            ("SCRAM-SHA-256-PLUS", "--starttls", "-z", USER),
            ("PLAIN", "--starttls"),
            ("LOGIN", "--starttls"),
        ):
            said = self.gsasl("--mechanism", mechanism, *options)
            self.assertIn(f"\nAUTH {mechanism}", said)
            self.assertIn("235 2.7.0 authenticated", said, (mechanism, options))

    def test_gsasl_is_refused(self) -> None:
        """A wrong password, an unknown login and another's name are answered alike."""
        self.serve_tls()
        for user, password, *options in (
            (USER, "wrong"),
            ("nobody@demo.example", PASSWORD),
            (USER, PASSWORD, "-z", "jsmith@demo.example"),
        ):
            said = self.gsasl("--starttls", *options, user=user, password=password)
            self.assertIn("\nAUTH SCRAM-SHA-256-PLUS", said)
            self.assertIn("535 5.7.8 authentication failed: wrong login or password", said)
            self.assertNotIn("235 ", said)

    def test_gsasl_with_tls_1_2(self) -> None:
        """A client that has another kind of binding there is not led to use it."""
        self.serve_tls()
        said = self.gsasl("--starttls", "--priority", "NORMAL:-VERS-TLS1.3", "--no-cb")
        self.assertNotIn("-PLUS", said)
        self.assertRegex(said, r"\nAUTH SCRAM-SHA-256\r?\n")
        self.assertIn("235 2.7.0 authenticated", said)

    def msmtp(self, auth: str, secret: str) -> int:
        """Submit with msmtp; returns its exit status."""
        configuration = self.write(
            "msmtprc",
            f"account default\nhost 127.0.0.1\nport {self.submission}\nauth {auth}\n"
            f'user {USER}\npassword "{secret}"\ntls on\ntls_starttls on\n'
            f"tls_trust_file {self.folder}/ca.pem\nfrom {USER}\n",
        )
        msmtp = self.program("msmtp", "msmtp")
        done = self.run_program(
            *(msmtp, "-C", configuration, "jsmith@demo.example"), input=MESSAGE, check=False
        )
        return done.returncode

    def test_msmtp(self) -> None:
        """The sendmail of many laptops."""
        self.serve_tls()
        for auth in ("scram-sha-256", "plain", "login"):
            self.assertEqual(self.msmtp(auth, PASSWORD), 0, auth)
            self.assertNotEqual(self.msmtp(auth, "wrong"), 0, auth)
        self.arrives()

    def test_msmtp_with_token(self) -> None:
        """A checker that somebody else wrote brings the mechanisms for its tokens along."""
        self.add_token_plugin()
        self.serve_tls(f"token:{TOKEN}:{USER}")
        for auth in ("oauthbearer", "xoauth2"):
            self.assertEqual(self.msmtp(auth, TOKEN), 0, auth)
            self.assertNotEqual(self.msmtp(auth, "expired"), 0, auth)
        self.arrives()

    def test_curl_with_token(self) -> None:
        """Scripts send with a token."""
        curl = self.program("curl", "curl")
        self.add_token_plugin()
        self.serve_tls(f"token:{TOKEN}:{USER}")
        for mechanism in ("OAUTHBEARER", "XOAUTH2"):
            for token, status in ((TOKEN, 0), ("expired", 67)):
                done = self.run_program(
                    *(curl, "-sS", "--ssl-reqd", "--cacert", self.folder / "ca.pem"),
                    *("--user", USER, "--oauth2-bearer", token),
                    *("--login-options", f"AUTH={mechanism}"),
                    *("--mail-from", USER, "--mail-rcpt", "jsmith@demo.example"),
                    *("--upload-file", "-", "--crlf", f"smtp://localhost:{self.submission}/x"),
                    input=MESSAGE,
                    check=False,
                )
                self.assertEqual(done.returncode, status, done.stdout)
        self.arrives()

    def test_twisted_checkers(self) -> None:
        """Users in a password file of Twisted's log in, under their name or their address."""
        self.write("mail.passwd", "joe:sesame\n")
        self.serve_tls("file:mail.passwd", "memory:jane:other")
        for user, password in (("joe", "sesame"), ("jane@demo.example", "other")):
            self.log_in(user, password)
            self.assertRaises(smtplib.SMTPAuthenticationError, self.log_in, user, "wrong")
            said = self.gsasl("--starttls", user=user, password=password)
            self.assertIn("\nAUTH SCRAM-SHA-256-PLUS", said)
            self.assertIn("235 2.7.0 authenticated", said)
        self.assertIn("235 2.7.0 authenticated", self.gsasl("--starttls"))

    def log_in(self, user: str, password: str) -> None:
        """Log in with smtplib."""
        with smtplib.SMTP("127.0.0.1", self.submission, "x", timeout=30) as client:
            client.login(user, password)

    def test_salt_after_a_restart(self) -> None:
        """A login that does not exist is answered after a restart as before."""
        self.serve_tls()
        salts = []
        for _ in range(2):
            with smtplib.SMTP("127.0.0.1", self.submission, "x", timeout=30) as client:
                client.ehlo()
                first = base64.b64encode(b"n,,n=nobody@demo.example,r=abc").decode()
                code, challenge = client.docmd("AUTH", f"SCRAM-SHA-256 {first}")
                self.assertEqual(code, 334)
                salts.append(base64.b64decode(challenge).split(b",")[1:])
                client.docmd("*")
            assert self.server is not None
            self.end(self.server)
            self.server = self.serve(self.configuration, self.submission)
        self.assertEqual(salts[0], salts[1])


class FetchTests(AuthenticationCase):
    """Clients that fetch."""

    def setUp(self) -> None:
        super().setUp()
        self.inbox = self.folder / "inbox"
        for sub in ("new", "cur", "tmp"):
            (self.inbox / sub).mkdir(parents=True)

    def deliver(self) -> None:
        """A message for angelo."""
        with smtplib.SMTP("127.0.0.1", self.smtp, "client.example") as client:
            client.sendmail("a@far.example", [USER], b"Subject: x\r\n\r\nhello\r\n")
        self.wait_for("a message", lambda: maildir(self.mailbox("angelo")))

    def mpop(self, auth: str, secret: str) -> int:
        """Fetch with mpop; returns its exit status."""
        control = self.write(
            "mpoprc",
            f"account default\nhost 127.0.0.1\nport {self.pop3}\nuser {USER}\n"
            f'password "{secret}"\ntls on\ntls_starttls on\ntls_trust_file {self.folder}/ca.pem\n'
            f"auth {auth}\ndelivery maildir {self.inbox}\nonly_new off\nkeep on\n"
            f"uidls_file {self.folder}/uidls\n",
        )
        mpop = self.program("mpop", "mpop")
        return self.run_program(mpop, "-C", control, check=False).returncode

    def test_mpop(self) -> None:
        """Each mechanism of mpop fetches the message, and none with a wrong secret."""
        self.add_token_plugin()
        self.serve_tls(f"token:{TOKEN}:{USER}")
        self.deliver()
        fetched = 0
        for auth in ("scram-sha-256", "plain", "login", "user", "oauthbearer", "xoauth2"):
            secret = TOKEN if auth in ("oauthbearer", "xoauth2") else PASSWORD
            self.assertEqual(self.mpop(auth, secret), 0, auth)
            fetched += 1
            self.assertEqual(len(maildir(self.inbox)), fetched, auth)
            self.assertNotEqual(self.mpop(auth, "wrong"), 0, auth)
        self.assertEqual(len(maildir(self.inbox)), fetched)

    def test_curl(self) -> None:
        """Scripts fetch with a password or a token."""
        curl = self.program("curl", "curl")
        self.add_token_plugin()
        self.serve_tls(f"token:{TOKEN}:{USER}")
        self.deliver()
        for mechanism, *secret in (
            ("PLAIN", "--user", f"{USER}:{PASSWORD}"),
            ("LOGIN", "--user", f"{USER}:{PASSWORD}"),
            ("OAUTHBEARER", "--user", USER, "--oauth2-bearer", TOKEN),
            ("XOAUTH2", "--user", USER, "--oauth2-bearer", TOKEN),
        ):
            for initial in ((), ("--sasl-ir",)):
                done = self.run_program(
                    *(curl, "-sS", "--ssl-reqd", "--cacert", self.folder / "ca.pem", *initial),
                    *(*secret, "--login-options", f"AUTH={mechanism}"),
                    f"pop3://localhost:{self.pop3}/1",
                )
                self.assertIn(b"Subject: x", done.stdout, mechanism)


class SmarthostTests(AuthenticationCase):
    """We log in at Postfix, whose logins Dovecot verifies."""

    def start_dovecot_auth(self, mechanisms: str) -> Path:
        """Dovecot with a socket for Postfix, and a user with a password in clear."""
        dovecot = self.program("dovecot", "dovecot-core")
        base = self.folder / "dovecot"
        self.write("users", f"smart:{{PLAIN}}{PASSWORD}\n", 0o644)
        configuration = self.write(
            "dovecot.conf",
            f"base_dir = {base}\nstate_dir = {base}-state\nprotocols =\nssl = no\n"
            f"log_path = {self.folder}/dovecot.log\nauth_verbose = yes\n"
            f"auth_mechanisms = {mechanisms}\ndisable_plaintext_auth = no\n"
            "default_internal_user = root\ndefault_login_user = nobody\n"
            "default_internal_group = root\n"
            f"passdb {{\n driver = passwd-file\n args = {self.folder}/users\n}}\n"
            "userdb {\n driver = static\n args = uid=65534 gid=65534 home=/\n}\n"
            f"service auth {{\n unix_listener {self.folder}/auth {{\n  mode = 0666\n }}\n}}\n",
        )
        self.start(dovecot, "-F", "-c", configuration)
        path = self.folder / "auth"
        self.wait_for("Dovecot's socket", path.exists)
        return path

    def start_smarthost(self, mechanisms: str) -> int:
        """Postfix at a port that is returned; whoever logs in may send."""
        self.need_root()
        postfix = self.program("postfix", "postfix")
        (port,) = free_ports(1)
        self.make_certificate()
        path = self.start_dovecot_auth(mechanisms)
        self.root = self.folder / "postfix"
        self.inbox = write_postfix(
            self.root,
            port,
            "blu.example",
            "smtpd_sasl_auth_enable = yes",
            "smtpd_sasl_type = dovecot",
            f"smtpd_sasl_path = {path}",
            "smtpd_client_restrictions = permit_sasl_authenticated, reject",
            "smtpd_tls_security_level = may",
            f"smtpd_tls_chain_files = {self.folder}/key.pem, {self.folder}/chain.pem",
        )
        process = self.start(postfix, "-c", self.root, "start-fg")
        # The script is not the master's parent, so that ending it would leave the master.
        self.addCleanup(self.run_program, postfix, "-c", self.root, "abort", check=False)
        self.wait_for_port(port, process)
        return port

    def route(self, port: int, password: str) -> None:
        """Serve, and send a message by way of the smarthost."""
        self.write("smarthost.password", password + "\n")
        self.serve_mail(
            rules=f'[[routing.rule]]\nvia = "tcp:127.0.0.1:{port}"\ntls = "require"\n'
            'recipients = ["*@blu.example"]\nlogin = "smart"\n'
            'password_file = "smarthost.password"\n',
        )
        self.submit(["user@blu.example"])

    def log(self) -> str:
        """What Postfix has written."""
        path = self.root / "postfix.log"
        return path.read_text() if path.exists() else ""

    def test_scram(self) -> None:
        """The strongest that both know is used, and the smarthost takes the message."""
        self.route(self.start_smarthost("plain login scram-sha-256"), PASSWORD)
        self.wait_for("a message at the smarthost", lambda: maildir(self.inbox))
        self.assertIn("sasl_method=SCRAM-SHA-256, sasl_username=smart", self.log())

    def test_without_scram(self) -> None:
        """A smarthost that knows only PLAIN and LOGIN is used as before."""
        self.route(self.start_smarthost("plain login"), PASSWORD)
        self.wait_for("a message at the smarthost", lambda: maildir(self.inbox))
        self.assertIn("sasl_method=PLAIN, sasl_username=smart", self.log())

    def test_wrong_password(self) -> None:
        """A mistake in our configuration keeps the mail in the queue, and says why."""
        self.route(self.start_smarthost("scram-sha-256"), "wrong")

        def reply() -> str:
            listed = self.mailframe("queue", "list", "-c", self.configuration, "--json").stdout
            (message,) = json.loads(listed)["messages"]
            return str(message["recipients"][0]["last_reply"])

        self.wait_for("an attempt", lambda: "454" in reply())
        self.assertIn("did not accept the route's login", reply())
        self.assertEqual(maildir(self.inbox), [])
