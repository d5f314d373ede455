"""The routing policies that ship with mailframe, and the resolution they are used through."""
