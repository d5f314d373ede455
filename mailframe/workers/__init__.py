"""Worker processes: one process opens the sockets, several serve at them and share the queue."""
