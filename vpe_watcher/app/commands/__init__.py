"""One module for each group of commands; each command is a function that returns a `Result`.

Commands read the configuration and the state file and leave words for the daemon. They never
change a case themselves, and never print (but for the live views, which say so).
"""
