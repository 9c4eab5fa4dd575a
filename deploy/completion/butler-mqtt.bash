# Completion of butler-mqtt for bash: commands, options, and their values.
# For all users, with the package bash-completion: /usr/share/bash-completion/completions/butler-mqtt
_butler_mqtt_completion() {
    local IFS=$'\n'
    COMPREPLY=($(env COMP_WORDS="${COMP_WORDS[*]}" COMP_CWORD="$COMP_CWORD" _BUTLER_MQTT_COMPLETE=complete_bash "$1"))
}
complete -o default -F _butler_mqtt_completion butler-mqtt
