#compdef vpe-watcher
# Completion of vpe-watcher for zsh: as _vpe-watcher in a folder of $fpath, or by eval
_vpe-watcher() {
    local program=${(Q)words[1]} line entry
    local -a entries offered
    line="${(j: :)words[1,CURRENT-1]} $QIPREFIX$PREFIX"
    entries=("${(@f)$("${program/#\~\//$HOME/}" __complete "$line" 2>/dev/null)}")
    case $entries[1] in
        files) compset -P '--*='; _files ;;
        folders) compset -P '--*='; _files -/ ;;
        words)
            for entry in "${(@)entries[2,-1]}"; do
                offered+=("${${entry%%$'\t'*}//:/\\:}:${entry#*$'\t'}")
            done
            _describe -V vpe-watcher offered ;;
    esac
}
if [[ $funcstack[1] == _vpe-watcher ]]; then
    _vpe-watcher "$@"
else
    compdef _vpe-watcher vpe-watcher
fi
