"""vpe-watcher: a watch-folder daemon for the Virtual Patient Engine.

The rooms, from the top: `app`, `flow`, `adapters`, `formats`, `core`; imports go down only.
`sandbox` stands beside them: a simulated Engine that knows nothing of the daemon.
"""

__version__ = "0.1.0"
