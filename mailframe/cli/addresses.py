"""Addresses as arguments of commands."""

from __future__ import annotations

import click

from mailframe.address import Address, AddressError, normal_domain

NULL = "<>"
POSTMASTER = "postmaster"


class MailAddress(click.ParamType[Address]):
    """An address, which arrives as an `Address`."""

    name = "address"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> Address:
        """Parse it, or end the command with status 2."""
        try:
            return value if isinstance(value, Address) else Address.parse(str(value))
        except AddressError as error:
            self.fail(f"{value!a}: {error}", param, ctx)


class DomainArgument(click.ParamType[str]):
    """A domain, which arrives in normal form."""

    name = "domain"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> str:
        """Read it, or end the command with status 2."""
        try:
            return normal_domain(str(value))
        except AddressError as error:
            self.fail(f"{value!a}: {error}", param, ctx)


class RecipientAddress(click.ParamType[Address | str]):
    """An address, or `POSTMASTER`: in any case, without a domain, as RCPT has it (RFC 5321
    §4.1.1.3)."""

    name = "address"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> Address | str:
        """Parse it, or end the command with status 2."""
        if isinstance(value, str) and value.lower() == POSTMASTER:
            return POSTMASTER
        return MailAddress().convert(value, param, ctx)


class AliasAddress(click.ParamType[Address | str]):
    """An address, or ``@domain``, which arrives as the text ``@`` and the domain in normal form."""

    name = "address"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> Address | str:
        """Parse it, or end the command with status 2."""
        if not isinstance(value, str) or not value.startswith("@"):
            return MailAddress().convert(value, param, ctx)
        try:
            return "@" + normal_domain(value[1:])
        except AddressError as error:
            self.fail(f"{value!a}: {error}", param, ctx)


class ReversePath(click.ParamType[Address | str]):
    """An address, or ``<>`` for the null reverse-path; that arrives as `NULL`."""

    name = "address"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> Address | str:
        """Parse it, or end the command with status 2."""
        if value in ("", NULL):
            return NULL
        return MailAddress().convert(value, param, ctx)
