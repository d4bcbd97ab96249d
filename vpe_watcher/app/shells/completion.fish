# Completion of vpe-watcher for fish: in ~/.config/fish/completions/vpe-watcher.fish
function __vpe_watcher_complete
    set -l program (string replace --regex "^~/" "$HOME/" -- (commandline -opc)[1])
    set -l entries ($program __complete (commandline -cp) 2>/dev/null)
    set -l word (commandline -ct)
    set -l option (string match -r -- '^--[a-z-]+=' $word; or echo)
    set -l begun (string replace -- "$option" '' $word)
    switch "$entries[1]"
        case files
            string join \n -- $option(complete --do-complete "'' $begun")
        case folders
            string join \n -- $option(complete --do-complete "'' $begun" | string match -- '*/')
        case words
            string join \n -- $entries[2..]
    end
end
complete --command vpe-watcher --no-files --keep-order --arguments '(__vpe_watcher_complete)'
