"""Times networks in dyrelu and in other engines side by side on one CPU.

Every engine runs in a worker process of its own. `protocol` is the protocol with the workers, and `rounds` runs
them in turns. `networks` writes the files that the workers read, `results` stores the figures, and `table` formats
them.
"""
