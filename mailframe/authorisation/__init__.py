"""The relay authorisation that ships with mailframe."""
