"""Replaces the standard library's sqlite3, so that SQLite's library is not in the tree.

pyroute2 imports it when it is imported, but only its NDB uses it, and we do not use NDB. Remove this file to use NDB.
"""
