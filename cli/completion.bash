# Completion of fovea for bash: verbs, and the flags of a verb as its --help has them. Installed as
# share/bash-completion/completions/fovea; or: . cli/completion.bash
_fovea() {
    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} program=${COMP_WORDS[0]}
    local verb=${COMP_WORDS[1]}
    COMPREPLY=()
    if [ "$COMP_CWORD" = 1 ]; then
        COMPREPLY=($(compgen -W "$("$program" --help 2>/dev/null | sed -n 's/^  \([a-z]*\)  .*/\1/p') --help --version" -- "$word"))
    elif [ "$before" = --attention ]; then
        COMPREPLY=($(compgen -W "dense window pattern fovea" -- "$word"))
    elif [ "$before" = -ctk ] || [ "$before" = -ctv ]; then
        COMPREPLY=($(compgen -W "auto f32 f16 bf16 q8_0 q4_0" -- "$word"))
    elif [ "${word#-}" != "$word" ]; then
        COMPREPLY=($(compgen -W "$("$program" "$verb" --help 2>/dev/null | grep -o '^  -[^ ].*' | grep -oE '(^| |/ )--?[A-Za-z][A-Za-z0-9-]*')" -- "$word"))
    fi
}
complete -o default -F _fovea fovea
