"""Networks in dyrelu and in other engines, timed side by side on one CPU.

Every engine is a worker process of its own that speaks the protocol of `protocol`; `rounds` makes
them take turns. `networks` writes the files that they read, `results` keeps the figures, `table`
writes them up.
"""
