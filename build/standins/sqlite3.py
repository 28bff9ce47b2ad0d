"""In the place of the standard library's sqlite3, for the database of pyroute2's NDB is the only user of SQLite's library.

pyroute2 imports it at its start. Nothing of ours uses NDB; who begins to removes this file.
"""
