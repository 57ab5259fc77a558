# SPDX-License-Identifier: Apache-2.0
#
# Reads numbers from the second line to the host, and runs FOLDER/jobs/NUMBER for each. When it ends, its output lies in
# NUMBER.out, and "NUMBER STATUS" goes back; "0 0" says that this is listening.

exec </dev/tty1 >/dev/tty1
stty raw -echo
echo 0 0
while read -r number; do
    (
        status=0
        sh "$FOLDER/jobs/$number" >"$FOLDER/jobs/$number.out" 2>&1 </dev/null || status=$?
        echo "$number $status"
    ) &
done
