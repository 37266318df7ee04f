"""Expressions in CEL over attributes (mixer.md E28 to E30): Google's parser, checker and evaluator.

`environment` says what expressions may name, `rewriting` turns their reads of attributes into
calls, `reading` answers those calls, and `expression` joins them.
"""
