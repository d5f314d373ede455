"""The parts that mailframe ships, by seam and name; nothing is imported before it is chosen."""

from mailframe.plugin import Part

file_accounts = Part(
    seam="accounts",
    name="file",
    help="accounts and aliases in a TOML file that `mailframe account` writes",
    settings="mailframe.accounts.file:FileSettings",
    builds="mailframe.accounts.file:build",
)
providers_authorisation = Part(
    seam="authorisation",
    name="providers",
    help="the customers of providers, known by network or by login",
    settings="mailframe.authorisation.providers:ProvidersSettings",
    builds="mailframe.authorisation.providers:build",
)
table_routing = Part(
    seam="routing",
    name="table",
    help="rules and maps, the first match wins; else local domains, else MX",
    settings="mailframe.routing.table:TableSettings",
    builds="mailframe.routing.table:build",
)
dns_routing = Part(
    seam="routing",
    name="dns",
    help="local domains here, all other mail to its domain's mail exchangers",
    settings="mailframe.routing.dns:DnsSettings",
    builds="mailframe.routing.dns:build",
)
sqlite_queue = Part(
    seam="queue",
    name="sqlite",
    help="an SQLite database beside content files, safe against power cuts",
    settings="mailframe.queue.sqlite:SqliteSettings",
    builds="mailframe.queue.sqlite:build",
)
memory_queue = Part(
    seam="queue",
    name="memory",
    help="in memory only, for trials and tests: everything is lost when the server ends",
    settings="mailframe.queue.memory:MemorySettings",
    builds="mailframe.queue.memory:build",
)
maildir_delivery = Part(
    seam="delivery",
    name="maildir",
    help="one Maildir for each account, which POP3 reads",
    settings="mailframe.delivery.maildir:MaildirSettings",
    builds="mailframe.delivery.maildir:build",
)
