#!/bin/sh
# Asks over REST, waits until the executions have ended, and prints the request's state: needs curl 7.71.
#
#   BUTLER=https://butler.example.com:8443 BUTLER_TOKEN=… ./start_rest.sh erp-4711 request.json
#
# The request is read from a file, UTF-8, so that no shell changes its quotes; - is standard input.
# Run it again with the same id whenever in doubt: the tasks are started once.
# Ends with 0 when every task succeeded, 1 when not or when it was refused, 75 when not known in time.
set -eu
id=$1 request=$2
butler=${BUTLER:-http://localhost:8080} seconds=${SECONDS_TO_WAIT:-3600}
answer=$(mktemp -d)
trap 'rm -rf "$answer"' EXIT

# call OPTION… : prints the status; the body is in $answer/body, the headers are in $answer/head.
# The token goes through standard input, since all users of a machine see the arguments of a command.
# Repeated are lost connections, timeouts, 408, 429 and 5xx, and each repetition has the same id.
call() {
    printf '%s\n' "Idempotency-Key: $id" ${BUTLER_TOKEN:+"Authorization: Bearer $BUTLER_TOKEN"} |
        curl -sS -H @- -o "$answer/body" -D "$answer/head" -w '%{http_code}\n' \
            --connect-timeout 10 --max-time 90 --retry 5 --retry-all-errors "$@"
}

[ "$request" != - ] || { cat >"$answer/request"; request=$answer/request; }
status=$(call -X POST "$butler/v4/reloadtask/start" -H 'Prefer: respond-async' \
    -H 'Content-Type: application/json' --data-binary "@$request") || exit 75
case $status in
200 | 202) ;; # 200: it was sent before and is decided
*) cat "$answer/body" && echo && exit 1 ;;
esac

# Where its state is: Location with 202, Content-Location with 200.
state=$(tr -d '\r' <"$answer/head" | sed -n 's/^\([Cc]ontent-\)\{0,1\}[Ll]ocation: //p')
# A text in JSON cannot look like these keys, since its quotes have backslashes.
end=$(($(date +%s) + seconds))
until grep -q '"finished": *true' "$answer/body"; do
    [ "$(date +%s)" -lt "$end" ] || { echo "not finished after $seconds s: $butler$state" >&2 && exit 75; }
    # Answered when all has ended, else after 30 seconds.
    status=$(call "$butler$state?wait=30") || exit 75
    [ "$status" = 200 ] || { cat "$answer/body" && echo && exit 1; }
done
cat "$answer/body" && echo
grep -q '"outcome": *"succeeded"' "$answer/body"
