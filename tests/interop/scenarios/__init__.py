"""What goes wrong between mail servers, one scenario after the other.

The lists that other mail servers' own tests are made of are good checklists. `checklist` says for
each of their scenarios which of our tests shows it; what no other test shows is shown here.
"""
