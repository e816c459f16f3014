"""Mutants: each breaks one promise on purpose, and a test that is named with it must notice.

`make mutants` runs them all. A mutant that survives says which test is missing; one whose old text
is no longer in the code says that the list has to follow the code.

A new mutant is one more entry in a list of this folder: its name says what is then no longer true.
"""
