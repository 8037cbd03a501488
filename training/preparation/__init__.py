"""Rows of events to the log that training reads: what ``training.prepare`` puts together.

``row_reader`` turns names into numbers and refuses what cannot be read, ``sorted_runs`` bring rows into
the order of time on the disk, ``split`` says where the parts end and ``vocabularies`` what is known;
``log`` leads a log through all of it, and ``report`` tells what became of the input.
"""

from training.preparation.log import prepare

__all__ = ["prepare"]
