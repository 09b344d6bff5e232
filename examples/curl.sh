#!/bin/sh
# A walk through timeback-events with curl. Start the hub first, then: sh examples/curl.sh
# HUB names another hub than the default one; TOKEN is sent as a bearer token where the hub asks for one.
set -eu

HUB=${HUB:-http://127.0.0.1:3001}
RUN=$(date +%s)-$$ # tells this run's servers and workflows from those of the last one

say() { printf '\n\033[1m# %s\033[0m\n' "$*"; }

# call METHOD PATH [BODY] [more of curl's arguments]
call() {
    method=$1 path=$2 body=${3-}
    [ $# -lt 3 ] || shift
    shift 2
    printf '$ curl -X %s %s%s\n' "$method" "$path" "${body:+ -d '$body'}" >&2
    [ -z "${TOKEN-}" ] || set -- "$@" -H "authorization: Bearer $TOKEN"
    [ -z "$body" ] || set -- "$@" -H 'content-type: application/json' -d "$body"
    curl -sS --fail-with-body -X "$method" "$@" "$HUB$path"
    echo
}

say "Is it there, and can it take work?"
call GET /readyz

say "Where does the log stand? Everything after this place is what this walk does."
START=$(call GET /snapshot | sed -n 's/^{"id":"\([^"]*\)".*/\1/p')
echo "id: $START"

say "A server registers. 201: it is new. The answer says how often to send heartbeats."
call POST /servers "{\"id\": \"lms-$RUN\", \"name\": \"LMS\", \"transport\": \"http\",
  \"capabilities\": {\"tools\": [\"grade\"], \"resources\": [], \"prompts\": []}, \"tags\": {\"site\": \"north\"}}"

say "The same again: 200, the lease renewed, nothing appended."
call POST /servers "{\"id\": \"lms-$RUN\", \"name\": \"LMS\", \"transport\": \"http\",
  \"capabilities\": {\"tools\": [\"grade\"], \"resources\": [], \"prompts\": []}, \"tags\": {\"site\": \"north\"}}"

say "A heartbeat, and one that reports trouble: the worse verdict counts at once, and says why."
call POST "/servers/lms-$RUN/heartbeat"
call POST "/servers/lms-$RUN/heartbeat" '{"health": "degraded", "detail": "the grade book answers slowly"}'

say "A workflow of two steps; the second waits for the first."
call POST /workflows "{\"id\": \"assess-$RUN\", \"name\": \"Assessment\", \"steps\": [
  {\"id\": \"collect\", \"server\": \"lms-$RUN\"}, {\"id\": \"grade\", \"dependsOn\": [\"collect\"]}]}"

say "What waits for this server?"
call GET "/steps?serverId=lms-$RUN&status=ready"

say "It claims the step, and reports its end."
call POST "/workflows/assess-$RUN/steps/collect" "{\"status\": \"running\", \"serverId\": \"lms-$RUN\"}"
call POST "/workflows/assess-$RUN/steps/collect" "{\"status\": \"completed\", \"serverId\": \"lms-$RUN\", \"result\": {\"papers\": 31}}"

say "The second step ends the workflow: both events are appended together."
call POST "/workflows/assess-$RUN/steps/grade" '{"status": "completed"}'

say "An event of one's own, with a key: sent twice, it is appended once."
call POST /events '{"type": "grades.synced", "data": {"count": 31}}' -H "idempotency-key: walk-$RUN"
call POST /events '{"type": "grades.synced", "data": {"count": 31}}' -H "idempotency-key: walk-$RUN"

say "A mistake is answered with a problem that says what is wrong."
call POST /servers '{"id": "not an id", "transport": "pigeon"}' || true

say "The server says good-bye."
call DELETE "/servers/lms-$RUN?reason=maintenance"

say "What happened, as pages."
call GET "/events/history?serverId=lms-$RUN&limit=3"

say "And as a stream, from where this walk began, for 3 seconds. Keep the last id: and it goes on from there at any time."
set -- -sSN --max-time 3 -H "last-event-id: $START"
[ -z "${TOKEN-}" ] || set -- "$@" -H "authorization: Bearer $TOKEN"
curl "$@" "$HUB/events" || [ $? -eq 28 ] # 28: the 3 seconds are over
