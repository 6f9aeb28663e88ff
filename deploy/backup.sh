#!/bin/sh
# Backups of Postgres, in the image of Postgres:
#   backup.sh               one whenever the newest is older than BACKUP_HOURS, for ever
#   backup.sh once          one now
#   backup.sh restore FILE  a backup becomes the database; the one before it stays beside it
# PGHOST, PGUSER and PGDATABASE say where; PGPASSWORD_FILE holds the password.
set -eu
umask 077

folder=${BACKUPS:-/backups}
hours=${BACKUP_HOURS:-24}
keep=${BACKUP_KEEP:-14}

PGPASSWORD=$(cat "$PGPASSWORD_FILE")
export PGPASSWORD

say() {
	echo "backup: $*" >&2
}

fail() {
	say "$*"
	exit 1
}

once() {
	[ -w "$folder" ] || fail "$folder 폴더에 쓸 수 없어요. 주인이 $(id -u)인지 확인해 주세요."
	name=deepbot-$(date -u +%Y%m%dT%H%M%SZ).dump
	rm -f "$folder"/.partial-*
	pg_dump --format=custom --file="$folder/.partial-$name"
	# Read to its end: what is broken is found now, and not when it is needed.
	pg_restore --file=/dev/null "$folder/.partial-$name"
	mv "$folder/.partial-$name" "$folder/$name"
	say "백업했어요: $name"
	find "$folder" -name 'deepbot-*.dump' | sort -r | tail -n "+$((keep + 1))" |
		while read -r old; do rm -- "$old"; done
}

restore() {
	file=$1
	[ -r "$file" ] || fail "백업 파일을 읽을 수 없어요: $file"
	pg_restore --file=/dev/null "$file" || fail "온전한 백업이 아니에요: $file"
	connected=$(count_connected)
	for _ in 1 2 3; do # what has just been stopped may still be hanging up
		[ "$connected" -eq 0 ] && break
		sleep 1
		connected=$(count_connected)
	done
	[ "$connected" -eq 0 ] || fail "데이터베이스를 쓰는 것이 있어요($connected). 봇과 관리 화면을 먼저 멈춰 주세요."
	new=${PGDATABASE}_restored
	old=${PGDATABASE}_$(date -u +%Y%m%dt%H%M%S)_$$ # two may be restored in one second
	ask "DROP DATABASE IF EXISTS \"$new\""
	ask "CREATE DATABASE \"$new\""
	pg_restore --exit-on-error --single-transaction --no-owner --dbname="$new" "$file"
	# Both names change or neither does.
	ask "BEGIN; ALTER DATABASE \"$PGDATABASE\" RENAME TO \"$old\"; ALTER DATABASE \"$new\" RENAME TO \"$PGDATABASE\"; COMMIT"
	say "되살렸어요. 앞의 데이터베이스는 $old로 남아 있어요."
}

count_connected() {
	ask "SELECT count(*) FROM pg_stat_activity WHERE datname = '$PGDATABASE'"
}

ask() {
	psql --no-psqlrc --quiet --tuples-only --no-align --set=ON_ERROR_STOP=1 \
		--dbname=postgres --command="$1"
}

case ${1:-} in
once) once ;;
restore) restore "${2:?파일의 이름을 적어 주세요}" ;;
"")
	while :; do
		if [ -z "$(find "$folder" -name 'deepbot-*.dump' -mmin "-$((hours * 60))")" ]; then
			# A process of its own: one that fails does not end this, and stops at its first error.
			sh "$0" once || say "백업하지 못했어요. 5분 뒤에 다시 해요."
		fi
		sleep 300
	done
	;;
*) fail "모르는 말이에요: $1 (once, restore 파일)" ;;
esac
