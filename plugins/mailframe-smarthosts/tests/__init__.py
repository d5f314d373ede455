"""The tests of mailframe-smarthosts."""
