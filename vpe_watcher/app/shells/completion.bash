# Completion of vpe-watcher for bash: eval "$(vpe-watcher completion bash)"
_vpe_watcher() {
    local IFS=$'\n' program=${1/#\~\//$HOME/} entries entry
    mapfile -t entries < <("$program" __complete "${COMP_LINE:0:COMP_POINT}" "$2" 2>/dev/null)
    COMPREPLY=()
    case ${entries[0]-} in
        files) compopt -o default ;;
        folders) compopt -o dirnames ;;
        words)
            for entry in "${entries[@]:1}"; do
                COMPREPLY+=("${entry%%$'\t'*}")
            done ;;
    esac
}
complete -F _vpe_watcher vpe-watcher
