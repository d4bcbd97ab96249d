"""`python -m vpe_watcher` is the command `vpe-watcher`."""

from vpe_watcher.app.cli import main

if __name__ == "__main__":
    main()
