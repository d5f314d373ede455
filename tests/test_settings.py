"""The configuration file: what is read from it, and what is said about its mistakes."""

from __future__ import annotations

import os
from textwrap import dedent
from typing import Any, ClassVar, Literal

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailframe.address import Address
from mailframe.backoff import Backoff
from mailframe.config_errors import SettingsError, nearest, shown
from mailframe.plugin import SEAMS, Installed, Part, Problem
from mailframe.queue.schedule import Schedule
from mailframe.settings import Settings, load
from mailframe.settings_converter import DomainName
from mailframe.settings_reader import read_table
from mailframe.units import FilePath, Octets, Seconds


@attrs.frozen(kw_only=True)
class Rule:
    """One rule of the example plugin."""

    name: str = ""
    via: str | tuple[str, ...] = "mx"
    kind: Literal["smtp", "lmtp"] = "smtp"
    hidden: FilePath | None = None
    source: str | None = None
    tls: str = "opportunistic"


def _odd(_instance: object, _attribute: object, value: int) -> None:
    if value % 2 == 0:
        raise ValueError("must be odd")


@attrs.frozen(kw_only=True)
class Example:
    """The settings of a plugin that uses every type there is."""

    rule: tuple[Rule, ...] = ()
    time: Seconds = Seconds(1)
    size: Octets = Octets(1)
    path: FilePath = FilePath("default/{domain}")
    maybe: FilePath | None = None
    number: int = 1
    small: int = attrs.field(default=1, validator=attrs.validators.lt(10))
    odd: int = attrs.field(default=1, validator=_odd)
    ratio: float = 0.5
    yes: bool = False
    names: tuple[str, ...] = ()
    domains: frozenset[DomainName] = frozenset()
    paths: list[FilePath] = attrs.Factory(list)
    postmaster: Address | None = None
    table: dict[str, int] = attrs.Factory(dict)
    one: Rule | None = None
    level: Literal["low", "high"] | int = "low"
    provider: tuple[Provider, ...] = ()

    def __attrs_post_init__(self) -> None:
        if self.number == 13:
            raise ValueError("13 is unlucky")


@attrs.frozen(kw_only=True)
class Provider:
    """What the cross-check of server names looks at."""

    name: str
    servers: tuple[str, ...] | None = None


@attrs.frozen
class NoSettings:
    """A plugin without settings."""


@attrs.frozen
class OwnQueue:
    """A queue that each process has for itself."""

    shared_by_processes: ClassVar[bool] = False


def _installed(*, problems: tuple[Problem, ...] = ()) -> Installed:
    def part(seam: str, name: str, cls: str) -> dict[str, Part]:
        path = f"{__name__}:{cls}"
        return {name: Part(seam=seam, name=name, help="h", settings=path, builds=path)}

    return Installed(
        parts={
            "accounts": part("accounts", "file", "Example"),
            "authorisation": part("authorisation", "providers", "Example"),
            "routing": part("routing", "table", "Example"),
            "queue": part("queue", "sqlite", "Example") | part("queue", "own", "OwnQueue"),
            "delivery": part("delivery", "maildir", "NoSettings")
            | part("delivery", "folders", "Example")
            | part("delivery", "broken", "Nowhere"),
        },
        problems=problems,
    )


class FileTests(SynchronousTestCase):
    """What is in a file, from top to bottom."""

    def write(self, text: str | bytes) -> str:
        """Write a file and give its path."""
        path = os.path.abspath(self.mktemp())
        with open(path, "wb") as file:
            file.write(text if isinstance(text, bytes) else dedent(text).encode())
        return path

    def load(self, text: str, top: str = 'hostname = "mx.rosse.example"\n') -> Settings:
        """The settings of a file."""
        self.path = self.write(top + dedent(text))
        return load(self.path, _installed())

    def mistakes(self, text: str, top: str = 'hostname = "mx.rosse.example"\n') -> list[str]:
        """What is said about a file."""
        with self.assertRaises(SettingsError) as caught:
            self.load(text, top)
        self.assertIn(self.path, str(caught.exception))
        return [str(mistake) for mistake in caught.exception.mistakes]

    def mistake(self, text: str) -> str:
        """The one thing that is said about a file."""
        (mistake,) = self.mistakes(text)
        return mistake


class Good(FileTests):
    """Files without mistakes."""

    def test_least(self) -> None:
        """A file of one line must do, with everything else by default."""
        found = self.load("", 'hostname = "MX.Rosse.example."')
        folder = os.path.dirname(self.path)
        self.assertEqual(found.hostname, "mx.rosse.example")
        self.assertEqual(found.state_dir, os.path.join(folder, "state"))
        self.assertEqual(found.schedule, Schedule())
        self.assertEqual(set(found.chosen), set(SEAMS))
        accounts = found.chosen["accounts"].settings
        self.assertEqual(accounts.path, os.path.join(folder, "accounts.toml"))
        self.assertEqual((found.servers, found.local_domains, found.tls), ((), (), None))
        self.assertEqual(found.path, self.path)

    def test_surface(self) -> None:
        """Every key that the manual names must be read."""
        found = self.load(
            """
            state_dir = "var"
            local_domains = ["Rosse.example", "rosse.example.", "blu.example"]
            processes = 1
            [[server]]
            name = "mx"
            protocol = "smtp"
            listen = "tcp:25"
            [[server]]
            name = "pop"
            protocol = "pop3"
            listen = ["tcp:110", "tcp6:110"]
            tls = "none"
            [[server]]
            name = "console"
            protocol = "console"
            listen = "tcp:8025:interface=127.0.0.1"
            [tls]
            certificate = "tls/fullchain.pem"
            private_key = "/etc/key.pem"
            [limits]
            message_size = "1MB"
            [dns]
            servers = ["127.0.0.1:5353"]
            [relay]
            port = 2600
            allow_private = true
            [queue]
            plugin = "sqlite"
            retry_every = "1m"
            number = 3
            """
        )
        folder = os.path.dirname(self.path)
        self.assertEqual(found.local_domains, ("rosse.example", "blu.example"))
        self.assertEqual([s.tls for s in found.servers], ["starttls", "none", "none"])
        self.assertEqual(found.servers[1].listen, ("tcp:110", "tcp6:110"))
        assert found.tls is not None
        self.assertEqual(found.tls.certificate, os.path.join(folder, "tls/fullchain.pem"))
        self.assertEqual(found.tls.private_key, "/etc/key.pem")
        self.assertEqual(found.limits.message_size, 1_000_000)
        self.assertEqual(found.dns.servers, ("127.0.0.1:5353",))
        self.assertEqual((found.relay.port, found.relay.allow_private), (2600, True))
        self.assertEqual(found.schedule.retry_every, 60)
        self.assertEqual(found.chosen["queue"].settings.number, 3)

    def test_no_tls_by_default(self) -> None:
        """Without a certificate there is nothing to start TLS with."""
        found = self.load('[[server]]\nname = "mx"\nprotocol = "smtp"\nlisten = "tcp:25"\n')
        self.assertEqual(found.servers[0].tls, "none")

    def test_plugin_settings(self) -> None:
        """A plugin's own keys reach it as the types it asked for, paths beside the file."""
        found = self.load(
            """
            [routing]
            time = "4h"
            size = "25MB"
            number = 3
            ratio = 2
            yes = true
            names = "just one"
            domains = ["A.example"]
            paths = ["x"]
            postmaster = "postmaster@A.example"
            table = { a = 1 }
            one = { via = "x" }
            level = 4
            [[routing.rule]]
            via = ["a", "b"]
            hidden = "secret"
            [[routing.rule]]
            via = "a"
            kind = "lmtp"
            """
        )
        example = found.chosen["routing"].settings
        folder = os.path.dirname(self.path)
        self.assertEqual((example.time, example.size), (14400, 25_000_000))
        self.assertEqual((example.number, example.ratio, example.yes), (3, 2.0, True))
        self.assertIsInstance(example.ratio, float)
        self.assertEqual(example.names, ("just one",))
        self.assertEqual(example.domains, frozenset(["a.example"]))
        self.assertEqual(example.paths, [os.path.join(folder, "x")])
        self.assertEqual(example.postmaster, Address("postmaster", "a.example"))
        self.assertEqual((example.table, example.level), ({"a": 1}, 4))
        self.assertEqual(example.one, Rule(via="x"))
        self.assertEqual(example.path, os.path.join(folder, "default/{domain}"))
        self.assertIsNone(example.maybe)
        self.assertEqual(
            example.rule,
            (
                Rule(via=("a", "b"), hidden=FilePath(os.path.join(folder, "secret"))),
                Rule(via="a", kind="lmtp"),
            ),
        )

    def test_broken_drop_ins_are_kept(self) -> None:
        """What can't be used but wasn't chosen is told when the server starts."""
        problem = Problem(module="m", file="f", reason="r")
        path = self.write('hostname = "a.example"')
        self.assertEqual(load(path, _installed(problems=(problem,))).problems, (problem,))


class Unreadable(FileTests):
    """Files that are no configuration at all."""

    def said(self, path: str) -> str:
        """What is said about it."""
        with self.assertRaises(SettingsError) as caught:
            load(path, _installed())
        self.assertTrue(str(caught.exception).startswith(path + ": "))
        return str(caught.exception)

    def test_missing(self) -> None:
        """Who starts the server in the wrong folder must see which file was looked for."""
        self.assertIn("mailframe init", self.said(os.path.abspath(self.mktemp())))

    def test_folder(self) -> None:
        """A folder can't be read; that is no reason for a traceback."""
        path = os.path.abspath(self.mktemp())
        os.mkdir(path)
        self.assertIn("can't be read", self.said(path))

    def test_syntax(self) -> None:
        """A slip of the pen must be found by its line and column."""
        self.assertIn("(at line 2, column 12)", self.said(self.write('a = 1\nhostname = mx"\n')))

    def test_not_utf8(self) -> None:
        """A file in another encoding must not give a traceback."""
        self.assertIn("octet 1", self.said(self.write(b'"\xff"')))


class Mistakes(FileTests):
    """Each mistake is said with table, key, what was found, what is allowed and what was meant."""

    def test_hostname_missing(self) -> None:
        """A server without a name can't greet."""
        (mistake,) = self.mistakes("", "")
        self.assertTrue(mistake.startswith("hostname: is missing; allowed: a domain name"))

    def test_misspelt_key(self) -> None:
        """A misspelt key must not be ignored: what it asks for would silently not happen."""
        self.assertTrue(self.mistakes("hostnme = 3")[0].endswith('did you mean "hostname"?'))
        mistake = self.mistake("[[routing.rule]]\n[[routing.rule]]\nname = 'b'\nvai = 'mx'")
        self.assertEqual(
            mistake,
            '[[routing.rule]] #2 "b": vai: unknown key; '
            "allowed: hidden, kind, name, source, tls, via; "
            'did you mean "via"?',
        )

    def test_misspelt_value(self) -> None:
        """The nearest word is what a reader needs, and all of them."""
        mistake = self.mistake('[[server]]\nname="mx"\nprotocol="smpt"\nlisten="tcp:25"')
        self.assertEqual(
            mistake,
            '[[server]] #1 "mx": protocol: found "smpt"; allowed: "smtp", "submission", "lmtp", '
            '"pop3", "console"; did you mean "smtp"?',
        )

    def test_lmtp(self) -> None:
        """Other servers would take it for the one to which a domain's mail goes."""
        text = '[[server]]\nname="mx"\nprotocol="lmtp"\nlisten="{}"'
        for listen in ("tcp:24", "unix:/run/lmtp", "tcp:2525"):
            self.load(text.format(listen))
        for listen in ("tcp:25", "tcp:25:interface=127.0.0.1", "tcp:port=25"):
            mistake = self.mistake(text.format(listen))
            self.assertIn("LMTP is never spoken on port 25; allowed: another port", mistake)

    def test_keys_of_the_queue(self) -> None:
        """The queue's table holds keys of ours and of its plugin: both are named."""
        mistake = self.mistake('[queue]\nretry_evry = "15m"')
        self.assertIn("[queue]: retry_evry: unknown key", mistake)
        self.assertIn("plugin", mistake)
        self.assertIn("rule", mistake)
        self.assertIn('did you mean "retry_every"?', mistake)

    def test_waits_that_grow(self) -> None:
        """A back-off curve is not read, or a mistake in one is told without its place."""
        found = self.load("[queue]\nretry = { first = '10m', factor = 3, longest = '1d' }")
        curve = Backoff(first=Seconds(600), factor=3.0, longest=Seconds(86400), jitter=0.2)
        self.assertEqual(found.schedule.backoff, curve)
        self.assertEqual(self.load("").schedule.backoff, Backoff.fixed(900))
        for text, told in (
            (
                "retry_every = '15m'\nretry = {}",
                "[queue]: retry_every: is there beside retry, whose waits would hold; allowed: one "
                "of the two; drop retry_every to have them grow, or retry to have all the same",
            ),
            ("retry = { first = '0s' }", "[queue.retry]: first: found 0s; allowed: at least 1s"),
            ("retry = { facter = 3 }", "[queue.retry]: facter: unknown key; allowed: factor, "),
            (
                "retry = { first = '5h' }",
                "[queue.retry]: longest (4h) is shorter than first (5h); make one of them fit the "
                "other",
            ),
            ("retry = '5m'", '[queue]: retry: found "5m"; allowed: a table'),
        ):
            self.assertIn(told, self.mistake(f"[queue]\n{text}"))

    def test_types(self) -> None:
        """Nothing is converted silently, and the reader sees what was found."""
        cases: dict[str, str] = {
            "number = '3'": 'number: found "3"; allowed: a whole number',
            "number = true": "number: found true; allowed: a whole number",
            "yes = 1": "yes: found 1; allowed: true or false",
            "ratio = nan": "ratio: found nan; allowed: a number",
            "time = '15 minutes'": 'time: found "15 minutes"; allowed: a duration such as "30s"',
            "size = -1": "size: found -1; allowed: a size such as",
            "path = ''": 'path: found ""; allowed: the path of a file',
            "path = 3": "path: found 3; allowed: the path of a file",
            "maybe = 3": "maybe: found 3; allowed: the path of a file",
            "names = 3": "names: found 3; allowed: a list of texts in quotes",
            "names = ['a', 3]": "names, item 2: found 3; allowed: a text in quotes",
            "domains = ['a..b']": 'domains, item 1: found "a..b"; allowed: a domain name',
            "domains = 'a..b'": 'domains: found "a..b"; allowed: a domain name',
            "domains = [3]": "domains, item 1: found 3; allowed: a domain name",
            "postmaster = 'x'": 'postmaster: found "x"; allowed: a mail address',
            "table = 3": "table: found 3; allowed: a table",
            "table = {a = 'x'}": '[routing.table]: a: found "x"; allowed: a whole number',
            "one = 3": "one: found 3; allowed: a table",
            "rule = {}": "rule: found a table; allowed: tables in [[double brackets]]",
            "rule = [3]": "rule, item 1: found 3; allowed: a table",
            "rule = [{via = 3}]": "via: found 3; allowed: a text in quotes or a list of texts",
            "rule = [{via = ['x', 3]}]": "via, item 2: found 3; allowed: a text in quotes",
            "level = 'hihg'": '"low", "high" or a whole number; did you mean "high"?',
            "level = [1]": 'found [1]; allowed: "low", "high" or a whole number',
        }
        for text, words in cases.items():
            mistake = self.mistake(f"[routing]\n{text}\n")
            self.assertIn(words, mistake, text)
            self.assertTrue(mistake.startswith("[routing") or mistake[:2] == "[[", mistake)

    def test_objections_of_a_settings_class(self) -> None:
        """A plugin's own checks must point to table and key as ours do."""
        mistake = self.mistake("[routing]\nsmall=11")
        for key in ("connect", "lookup", "greeting", "tls", "command", "final", "total"):
            none = self.mistake(f'[relay.timeouts]\n{key} = "0s"')
            words = f'[relay.timeouts]: {key}: found "0s"; allowed: more than 0'
            self.assertEqual(none, words)
        none = self.mistake("[limits]\nidle = 0.5")
        self.assertEqual(none, "[limits]: idle: found 0.5; allowed: at least 1")
        self.assertEqual(mistake, "[routing]: small: found 11; allowed: less than 10")
        self.assertEqual(self.mistake("[routing]\nodd=2"), "[routing]: must be odd")
        self.assertEqual(self.mistake("[routing]\nnumber=13"), "[routing]: 13 is unlucky")
        self.assertEqual(
            self.mistake("[queue]\nretry_every = 0"),
            "[queue]: retry_every: found 0s; allowed: at least 1s",
        )

    def test_not_a_table(self) -> None:
        """A key where a table belongs."""
        self.assertIn("routing: found 3; allowed: a table", self.mistakes("routing = 3"))
        self.assertIn("queue: found 3; allowed: a table", self.mistakes("queue = 3"))

    def test_plugins(self) -> None:
        """A plugin that isn't there, or can't be loaded, and a name that isn't one."""
        self.assertIn("did you mean 'table'?", self.mistake('[routing]\nplugin = "tabel"'))
        self.assertIn("[delivery]: plugin: found 3;", self.mistake("[delivery]\nplugin = 3"))
        mistake = self.mistake('[delivery]\nplugin = "broken"')
        self.assertIn("plugin 'broken' of [delivery] can't be loaded", mistake)

    def test_all_at_once(self) -> None:
        """Who made three mistakes wants to mend them in one go."""
        mistakes = self.mistakes('hostnme = "x"\n[routing]\nnumber = "3"\n[queue]\nfoo = 1\n', "")
        self.assertEqual(len(mistakes), 4)


SERVER = '[[server]]\nname = "{}"\nprotocol = "{}"\nlisten = "{}"\n'


class CrossChecks(FileTests):
    """What only shows when several keys are looked at."""

    def test_processes(self) -> None:
        """A slip must not start a thousand processes, or none."""
        self.assertEqual(self.load("processes = 4").processes, 4)
        for wrong in (0, -1, 65):
            said = self.mistake(f"processes = {wrong}")
            self.assertIn(f"processes: found {wrong}; allowed: a whole number from 1 to 64", said)

    def test_processes_with_a_queue_of_their_own(self) -> None:
        """Each would keep its own mail, and the console would show a part of it."""
        own = '[queue]\nplugin = "own"\n'
        self.assertEqual(self.load(f"processes = 1\n{own}").processes, 1)
        said = self.mistake(f"processes = 2\n{own}")
        self.assertIn("processes: 2 processes can't share the queue of plugin 'own'", said)

    def test_names(self) -> None:
        """A name must stand for one server, and not for this machine."""
        two = SERVER.format("mx", "smtp", "tcp:25") + SERVER.format("mx", "smtp", "tcp:26")
        self.assertIn(
            '[[server]] #2 "mx": name: is also the name of [[server]] #1', self.mistake(two)
        )
        for name in ("local", " ", "a\\nb"):
            self.assertIn("a name of its own", self.mistake(SERVER.format(name, "smtp", "tcp:1")))

    def test_proxies(self) -> None:
        """Anyone could claim any address, or the proxy's clients get nowhere."""
        server = SERVER.format("mx", "smtp", "haproxy:tcp:25")
        self.load(server + 'proxies = ["10.0.0.0/8", "127.0.0.1"]')
        for text, words in (
            (server, "needs the networks of its proxies"),
            (server + "proxies = []", "needs the networks of its proxies"),
            (server + 'proxies = ["10.0.0.1/8"]', "allowed: a network"),
            (SERVER.format("mx", "smtp", "tcp:25") + 'proxies = ["10.0.0.1"]', "there is none"),
            (SERVER.format("mx", "smtp", "haproxy:tpc:25") + 'proxies = ["10.0.0.1"]', "'tcp'"),
        ):
            self.assertIn(words, self.mistake(text))

    def test_keys_of_smtp(self) -> None:
        """A key that does nothing seems to do something."""
        self.load(SERVER.format("mx", "smtp", "tcp:25") + 'xclient = ["::1"]\nshow_login = true')
        for key in ('xclient = ["::1"]', "show_login = true", "show_reason = false"):
            text = SERVER.format("pop", "pop3", "tcp:110") + key
            self.assertIn("has no use for it", self.mistake(text))
        wrong = SERVER.format("mx", "smtp", "tcp:25") + 'xclient = ["localhost"]'
        self.assertIn("allowed: a network", self.mistake(wrong))

    def test_mechanisms(self) -> None:
        """A client would be offered less, or more, than was meant."""
        server = SERVER.format("mx", "submission", "tcp:25")
        for text, names in (
            ('"plain"', ("plain",)),
            ('["SCRAM-SHA-256", "PLAIN"]', ("SCRAM-SHA-256", "PLAIN")),
        ):
            settings = self.load(f"{server}mechanisms = {text}")
            self.assertEqual(settings.servers[0].mechanisms, names)
        self.assertIsNone(self.load(server).servers[0].mechanisms)
        console = SERVER.format("web", "console", "tcp:80") + 'mechanisms = ["PLAIN"]'
        for text, words in (
            (server + 'mechanisms = ["PLAIN", "SCRAM-SHA-265"]', 'did you mean "SCRAM-SHA-256"'),
            (server + 'mechanisms = ["PLAIN", "SCRAM-SHA-265"]', "mechanisms, item 2"),
            (server + "mechanisms = []", "nobody could log in"),
            (console, "has no use for it"),
        ):
            self.assertIn(words, self.mistake(text))

    def test_listen(self) -> None:
        """A wrong endpoint must be found before the server starts."""
        for listen in ("25", "tcp", "tcp:x", "tcp:99999", "tcp:25:foo=1", "tpc:25", "haproxy"):
            mistake = self.mistake(SERVER.format("mx", "smtp", listen))
            self.assertIn("[[server]] #1", mistake)
            self.assertIn("is not a Twisted server endpoint string", mistake)
        self.assertIn("did you mean 'tcp'?", self.mistake(SERVER.format("mx", "smtp", "tpc:25")))
        for mode in ("rw", "0x1ff", "999", "77777", ""):
            mistake = self.mistake(SERVER.format("mx", "smtp", f"unix:/run/x:mode={mode}"))
            self.assertIn(f'"{mode}" is no mode, which is octal, such as mode=660', mistake)
        for listen in ("unix:/run/x", "systemd:domain=INET:index=0", "unix:/run/x:mode=0660"):
            self.load(SERVER.format("mx", "smtp", listen))
        two = SERVER.format("mx", "smtp", "tcp:25") + SERVER.format("in", "smtp", "tcp:25")
        self.assertIn('"tcp:25" is also used by [[server]] #1 "mx"', self.mistake(two))
        for one, other in (
            ("tcp:25:interface=127.0.0.1", "tcp:port=25:interface=127.0.0.1"),
            ("tcp:25", "tcp:25:interface=127.0.0.1"),
            ("tcp6:25:interface=\\\\:\\\\:1", "tcp6:25"),
            ("unix:/run/x", "unix:/run/x:mode=660"),
        ):
            two = SERVER.format("mx", "smtp", one) + SERVER.format("in", "smtp", other)
            words = f'is also used by [[server]] #1 "mx", written "{one}"'
            self.assertIn(words.replace("\\\\", "\\"), self.mistake(two))
        for one, other in (
            ("tcp:25", "tcp6:25"),
            ("tcp:25", "tcp:26"),
            ("tcp:0", "tcp:port=0"),
            ("tcp:25:interface=127.0.0.1", "tcp:25:interface=127.0.0.2"),
            ("unix:/run/x", "unix:/run/y"),
            ("unix:/run/x", "tcp:25"),
        ):
            self.load(SERVER.format("mx", "smtp", one) + SERVER.format("in", "smtp", other))
        none = '[[server]]\nname = "mx"\nprotocol = "smtp"\nlisten = []\n'
        self.assertIn("listen: found []; allowed: at least one", self.mistake(none))

    def test_tls_without_certificate(self) -> None:
        """A server that was to speak TLS must not start without it."""
        for tls in ("starttls", "implicit"):
            text = SERVER.format("mx", "smtp", "tcp:25") + f'tls = "{tls}"\n'
            self.assertIn(f'tls: "{tls}" needs a certificate', self.mistake(text))

    def test_console_has_no_starttls(self) -> None:
        """HTTP knows no STARTTLS."""
        text = SERVER.format("c", "console", "tcp:25") + 'tls = "starttls"\n'
        text += '[tls]\ncertificate = "c"\nprivate_key = "k"\n'
        self.assertIn('tls: found "starttls"; allowed: "none", "implicit"', self.mistake(text))

    def test_name_servers(self) -> None:
        """The name of a name server could not be looked up."""
        mistake = self.mistake('[dns]\nservers = ["127.0.0.1:53", "dns.example:53"]')
        self.assertIn('[dns]: servers, item 2: found "dns.example:53"', mistake)

    def test_dane(self) -> None:
        """DANE would be believed in although nobody looks at the signatures."""
        mistake = self.mistake("[relay]\ndane = true")
        self.assertIn("[relay]: dane: needs name servers that validate DNSSEC", mistake)
        self.load("[relay]\ndane = false")
        self.assertIsNone(self.load("[dns]\nvalidating = true").relay.dane)
        self.assertTrue(self.load("[dns]\nvalidating = true\n[relay]\ndane = true").relay.dane)

    def test_route_that_asks_for_dane(self) -> None:
        """Its mail would wait until it is returned, for no TLSA record is ever believed."""
        rule = '[[routing.rule]]\nvia = "mx"\ntls = "dane"\n'
        for text in ("", "[dns]\nvalidating = true\n[relay]\ndane = false\n"):
            self.assertIn("needs validating = true in [dns]", self.mistake(text + rule))
        self.load("[dns]\nvalidating = true\n" + rule)

    def test_sources(self) -> None:
        """Mail of a route would wait for a source that is misspelt."""
        source = '[[relay.source]]\nname = "bulk"\naddress = "192.0.2.7"\n'
        rule = '[[routing.rule]]\nvia = "mx"\nsource = "{}"\n'
        (found,) = self.load(source + 'hostname = "out.example"').relay.source
        self.assertEqual((found.address, found.hostname), ("192.0.2.7", "out.example"))
        self.assertIn("is there twice", self.mistake(source * 2))
        mistake = self.mistake(source.replace("192.0.2.7", "out.example"))
        self.assertIn("address: found 'out.example'", mistake)
        self.assertIn('no [[relay.source]] named "bulk"', self.mistake(rule.format("bulk")))
        mistake = self.mistake(source + rule.format("bluk"))
        self.assertTrue(mistake.endswith('did you mean "bulk"?'), mistake)
        self.load(source + rule.format("bulk"))
        self.assertIn('no [[relay.source]] named ""', self.mistake(source + rule.format("")))
        mistake = self.mistake(source + rule.format("\\u0000"))
        self.assertIn(r'no [[relay.source]] named "\x00"', mistake)

    def test_servers_of_providers(self) -> None:
        """A provider's customers could use nothing if its server's name were misspelt."""
        text = SERVER.format("submission", "submission", "tcp:25")
        text += '[[authorisation.provider]]\nname = "rosse"\nservers = ["submision"]\n'
        mistake = self.mistake(text)
        self.assertIn('[[authorisation.provider]] #1 "rosse": servers', mistake)
        self.assertTrue(mistake.endswith('did you mean "submission"?'))
        self.load(text.replace("submision", "submission"))

    def test_mailboxes_of_several_domains(self) -> None:
        """Two people of different domains would share a mailbox."""
        domains = 'local_domains = ["a.example", "b.example"]\n'
        path = '[delivery]\nplugin = "folders"\npath = "mail/{mailbox}"\n'
        mistake = self.mistake(domains + path)
        self.assertTrue(mistake.startswith('[delivery]: path: found "mail/{mailbox}"'), mistake)
        self.assertIn("{domain}", mistake)
        self.load('local_domains = ["a.example", "A.example"]\n' + path)
        self.load(domains + path.replace("{mailbox}", "{mailbox}@{domain}"))
        self.load(domains + path.replace("{mailbox}", "all"))


class Words(SynchronousTestCase):
    """How values and names are shown."""

    def test_shown(self) -> None:
        """A message must be one line, whatever the value."""
        cases: list[tuple[Any, str]] = [
            ("a\nb", '"a\\nb"'),
            (True, "true"),
            ({}, "a table"),
            ([1, "x"], '[1, "x"]'),
            (1.5, "1.5"),
        ]
        for value, text in cases:
            self.assertEqual(shown(value), text)
        self.assertEqual(len(shown("x" * 200)), 80)

    def test_nearest(self) -> None:
        """Case makes no difference to what was meant; what is far off is not suggested."""
        self.assertEqual(nearest("SMTP", ["smtp", "pop3"]), "smtp")
        self.assertIsNone(nearest("xyz", ["smtp", "pop3"]))

    def test_no_file(self) -> None:
        """Settings from a program have no file to name."""
        self.assertTrue(str(SettingsError("", [])).startswith("settings: "))


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([f.name for f in attrs.fields(Rule)]), inner, max_size=3)
    ),
    max_leaves=6,
)


class Anything(SynchronousTestCase):
    """Whatever a file holds."""

    @settings(deadline=None, max_examples=150)
    @given(
        st.dictionaries(
            st.sampled_from([f.name for f in attrs.fields(Example)] + ["x"]), VALUES, max_size=4
        )
    )
    def test_settings_or_mistakes(self, values: dict[str, Any]) -> None:
        """No content of a file may end in a traceback, and no mistake may span two lines."""
        document = {"routing": values}
        found, mistakes = read_table(Example, document, ("routing",), "/", values, ("plugin",))
        self.assertEqual(found is None, bool(mistakes))
        for mistake in mistakes:
            self.assertNotIn("\n", str(mistake))
            self.assertTrue(str(mistake).startswith("["))
