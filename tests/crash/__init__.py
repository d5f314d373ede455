"""Proof by destruction: power cuts, kills, faults, model disks, mutants and flipped bits.

``python -m tests.crash --help`` lists the campaigns; the tests here run a short one of each.
"""
