"""Output of runs: progress, logs, picture grids, tables, charts and one HTML page.

Import from the modules. Only this folder and ``dfkd.cli`` print.
"""
