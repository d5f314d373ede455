"""Relayed mail spread over several smarthosts, by sender: a routing policy for mailframe."""
