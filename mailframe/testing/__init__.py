"""For the authors of plugins: contracts, in-memory network and fakes, shipped and used here."""
