"""For the authors of plugins: contracts, in-memory network and fakes, shipped and used here.

- `mailframe.testing.contracts`: what every seam promises, as tests to be mixed into your own
- `mailframe.testing.network`: a reactor with virtual time and a virtual network of many hosts
- `mailframe.testing.site`: what the server lends to its parts, all virtual
- `mailframe.testing.resolver`: DNS from a dictionary
- `mailframe.testing.fakes`, `mailframe.testing.fake_storage`: parts that fail on request
- `mailframe.testing.faulty_files`: files that fail on request
- `mailframe.testing.storage_calls`: every call to files and of SQLite, before and after it is made
- `mailframe.testing.forgetful_disk`: the states that a power cut may leave a disk in
- `mailframe.testing.samples`: clients, envelopes and facts to build tests from
"""
