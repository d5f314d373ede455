"""The console's style sheet, served from the site itself so that the policy can forbid all else."""

from __future__ import annotations

STYLE = """\
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 80rem; padding: 0 1rem; }
h1 { font-size: 1.4rem; }
h1 a { color: inherit; text-decoration: none; }
table { border-collapse: collapse; width: 100%; }
th, td { border-bottom: 1px solid #8884; padding: .3rem .8rem .3rem 0; text-align: left;
  vertical-align: top; overflow-wrap: anywhere; }
th { font-weight: 600; }
.counts { display: flex; gap: 2rem; list-style: none; padding: 0; }
.counts b { display: block; font-size: 1.5rem; }
.time, .id { font-variant-numeric: tabular-nums; white-space: nowrap; }
.reply { font-family: ui-monospace, monospace; font-size: .9em; }
"""
