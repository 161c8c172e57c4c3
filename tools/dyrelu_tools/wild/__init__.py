"""Repeats cases on which dyrelu once failed, by its command line."""
