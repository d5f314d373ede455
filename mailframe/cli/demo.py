"""A server to try out: ``python -m mailframe.cli.demo demo`` writes ``./demo``, once.

Every run brings about what is missing and leaves alone what is there, so that a first run that was
interrupted does no harm. The passwords lie in ``README`` and are written before the accounts.
"""

from __future__ import annotations

import os
import re
import secrets
import shlex
import string
import sys

from mailframe.accounts.store import AccountStore
from mailframe.address import Address
from mailframe.cli.template import configuration, write_file

DOMAIN = "demo.example"
NAMES = ("angelo", "jsmith")
_FOLDERS = ("state", "mail")
_LETTERS = string.ascii_letters + string.digits  # none that a shell or a program could take amiss
_PASSWORD = re.compile(r"^(\S+@\S+) +(\S+)$", re.MULTILINE)

_README = """\
A mailframe server to try out, written by `make run`. Remove this folder to begin anew.

The accounts and their passwords:

{accounts}

Mail for postmaster@demo.example goes to angelo.

mailframe.toml is the configuration; SMTP listens on 127.0.0.1:2525, submission on 2587, POP3 on
2110, and the console on http://127.0.0.1:8025/. The queue is in state/, the mailboxes are in mail/.
"""

_LINES = """\
Send a message, with whichever of these you have:

  swaks --server 127.0.0.1:2587 --auth PLAIN --auth-user angelo@demo.example \\
    --auth-password "$({angelo})" \\
    --from angelo@demo.example --to jsmith@demo.example --header "Subject: hello" --body "Hello!"

  printf 'Subject: hello\\r\\n\\r\\nHello!\\r\\n' | curl -sS smtp://127.0.0.1:2587/demo.example \\
    --user "angelo@demo.example:$({angelo})" \\
    --mail-from angelo@demo.example --mail-rcpt jsmith@demo.example --upload-file -

  {python} - "$({angelo})" <<'END'
  import smtplib, sys
  with smtplib.SMTP("127.0.0.1", 2587) as server:
      server.login("angelo@demo.example", sys.argv[1])
      server.sendmail("angelo@demo.example", ["jsmith@demo.example"],
                      "Subject: hello\\r\\n\\r\\nHello!\\r\\n")
  END

Fetch it:

  curl -sS pop3://127.0.0.1:2110/1 --user "jsmith@demo.example:$({jsmith})"

  {python} - "$({jsmith})" <<'END'
  import poplib, sys
  server = poplib.POP3("127.0.0.1", 2110)
  server.user("jsmith@demo.example")
  server.pass_(sys.argv[1])
  for number in range(1, server.stat()[0] + 1):
      print(*(line.decode() for line in server.retr(number)[1]), sep="\\n")
  server.quit()
  END

See why mail may go where it goes, and what waits:

  {mailframe} explain -c {config} --server submission --from-ip 127.0.0.1 \\
    --login angelo@demo.example angelo@demo.example jsmith@demo.example
  {mailframe} queue list -c {config}
  http://127.0.0.1:8025/
"""


def prepare(folder: str) -> dict[str, str] | None:
    """Write what is missing of the demonstration.

    :param folder: where it is, made if need be
    :returns: the passwords by account, when any was made now; otherwise ``None``
    :raises OSError: something can't be written
    """
    os.makedirs(folder, exist_ok=True)
    for name in _FOLDERS:
        os.makedirs(os.path.join(folder, name), mode=0o700, exist_ok=True)
    readme = os.path.join(folder, "README")
    kept = _read_passwords(readme)
    addresses = [Address(name, DOMAIN) for name in NAMES]
    passwords = {str(each): kept.get(str(each)) or _make_password() for each in addresses}
    if passwords != kept:
        accounts = "\n".join(f"{address}  {password}" for address, password in passwords.items())
        write_file(readme, _README.format(accounts=accounts), 0o600)
    _write_accounts(os.path.join(folder, "accounts.toml"), passwords, kept)
    config = os.path.join(folder, "mailframe.toml")
    if not os.path.exists(config):
        write_file(
            config,
            configuration(
                hostname=DOMAIN, domains=[DOMAIN], file=config, provider="demo", demonstration=True
            ),
        )
    return None if passwords == kept else passwords


def _write_accounts(path: str, passwords: dict[str, str], kept: dict[str, str]) -> None:
    store = AccountStore.load(path)
    changed = not os.path.exists(path)
    for text, password in passwords.items():
        address = Address.parse(text)
        if address not in store.accounts:
            store.add(address, password)
        elif text not in kept:
            store.set_password(address, password)  # nobody can know the one it had
        else:
            continue
        changed = True
    postmaster = Address("postmaster", DOMAIN)  # RFC 5321 §4.5.1: there must be one
    if store.find(postmaster) is None:
        store.alias(postmaster, [Address(NAMES[0], DOMAIN)])
        changed = True
    if changed:
        store.save()


def _read_passwords(readme: str) -> dict[str, str]:
    try:
        with open(readme, encoding="utf-8", errors="replace") as file:
            found = dict(_PASSWORD.findall(file.read()))
    except FileNotFoundError:
        return {}
    return {text: found[text] for text in (f"{name}@{DOMAIN}" for name in NAMES) if text in found}


def _make_password() -> str:
    return "".join(secrets.choice(_LETTERS) for _ in range(16))


def lines(folder: str) -> str:
    """Lines to copy and paste that send a message and fetch it.

    The passwords are read from ``README`` by the shell, so that they don't stand in what is shown.
    """
    readme = shlex.quote(os.path.join(folder, "README"))
    read = {name: f"sed -n 's/^{name}@{DOMAIN}  *//p' {readme}" for name in NAMES}
    return _LINES.format(
        **read,
        python=shlex.quote(sys.executable),
        mailframe=shlex.quote(os.path.join(os.path.dirname(sys.executable), "mailframe")),
        config=shlex.quote(os.path.join(folder, "mailframe.toml")),
    )


def main(arguments: list[str]) -> int:
    """Prepare the folder and print what to do with it.

    :param arguments: the folder
    :returns: the exit status
    """
    if len(arguments) != 1:
        print("usage: python -m mailframe.cli.demo FOLDER", file=sys.stderr)
        return 2
    (folder,) = arguments
    try:
        passwords = prepare(folder)
    except (OSError, ValueError) as error:
        print(f"{folder} can't be prepared: {error}", file=sys.stderr)
        return 2
    if passwords:
        print(f"The accounts, whose passwords are kept in {os.path.join(folder, 'README')}:\n")
        for address, password in passwords.items():
            print(f"  {address}  {password}")
        print()
    print(lines(folder), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
