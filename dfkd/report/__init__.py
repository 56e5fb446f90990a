"""What a run shows of itself: live progress, logs, picture grids, tables and one HTML page.

Import from the modules; this room and ``dfkd.cli`` alone may print.
"""
