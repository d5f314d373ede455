"""Accounts, aliases and logins."""
