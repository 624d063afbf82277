#!/usr/bin/env bash
# The health check of our services: does 127.0.0.1:PORT/PATH answer 200? `answers.sh PORT PATH`
#
# In bash, because a producer has a twentieth of a core: a Python that starts up for the question takes most of the
# five seconds that it may take.
set -euo pipefail

exec 3<>"/dev/tcp/127.0.0.1/$1"
printf 'GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n' "$2" >&3
read -r -t 4 _ code _ <&3
[[ "$code" == 200 ]]
