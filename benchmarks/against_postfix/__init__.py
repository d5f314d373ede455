"""mailframe beside Postfix and others on this machine, in one run: ``make benchmark``, or

    python -m benchmarks.against_postfix [--rounds N] [--processes N] [--messages N] [work …]

The client is Postfix's ``smtp-source`` with 20 sessions and messages of 4 KB, unless said:

accept   acknowledged, while the next hop takes connections and never says a word
connect  the same, with one connection for each message
maildir  from the first connection until all of them lie in a Maildir
relay    from the first connection until ``smtp-sink`` has taken all of them
large    messages of 20 MB, 10 at a time, acknowledged; and the memory that this takes
latency  from the final dot to the 250, at half of the rate that ``accept`` reached

The servers take turns, each on the same file system with a fresh queue, and the best of the rounds
counts (of the memory the worst), for machines are noisy; what is to be quoted are the ratios to
Postfix. Haraka and aiosmtpd take part where they can be installed (`foreign`);
``smtp-sink``, which keeps nothing, shows what the load itself can do.

Needs root and Debian's postfix. Ends what it started, by process id.
"""
