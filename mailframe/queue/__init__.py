"""The queue: what a step changes, when the next is due, who keeps it, and the runner."""
