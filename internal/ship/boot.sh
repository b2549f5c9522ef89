# The far side of Bootstrap, for any POSIX sh. Whole-line comments and indentation are not sent.
#
# It is one compound command: sh has parsed all of it before the first line of it runs, so that nothing but "read" and
# "head" takes from standard input, and the program that is executed at the end finds there what was sent for it.
# Every variable begins with afar_, for one that happens to be in the environment would be changed for the program too.
# "echo" makes files, not ":": a redirection that fails ends the shell when it is of a special builtin.
{
afar_n=@NONCE@ afar_lock= afar_own= afar_skip= afar_full= afar_node=
# What goes wrong is told on standard output, the only way back; the program gets the real standard error.
exec 3>&2 2>&1

afar_say() { echo "AFAR1 $afar_n $*"; }

# Removing is optional: without rm the space is given back, and the agent tidies up later.
afar_remove() { rm -rf "$1" 2>/dev/null; }

# Whose lock is it? One without a readable owner belongs to "none".
afar_owner() {
  afar_host= afar_pid= afar_who=
  { read -r afar_host afar_pid afar_who <"$afar_lock/owner"; } 2>/dev/null
  afar_who=${afar_who:-none}
}

# A lock is renamed before it is removed: that is atomic, and works without rm.
afar_break() {
  [ ! -f "$afar_lock/$afar_who" ] || echo >"$afar_lock/$afar_who"
  mv "$afar_lock" "$afar_lock.$afar_n" 2>/dev/null && afar_remove "$afar_lock.$afar_n"
}
afar_unlock() {
  [ -n "$afar_lock" ] || return 0
  afar_owner
  [ "$afar_who" != "$afar_n" ] || afar_break
  afar_lock=
}
afar_undo() {
  afar_unlock
  [ -z "$afar_own" ] || afar_remove "$afar_own"
  afar_own=
}
trap 'afar_undo; exit 1' HUP INT PIPE TERM

# Directory number $1. Those in /tmp and the like are new and have a name that nobody could guess.
afar_where() {
  case $1 in
  1)
    case $XDG_CACHE_HOME in
    /*) afar_d=$XDG_CACHE_HOME/afar/images ;;
    *) [ -d "$HOME" ] && afar_d=$HOME/.cache/afar/images || return 1 ;;
    esac ;;
  2) [ -d "$HOME" ] && afar_d=$HOME/.afar/images || return 1 ;;
  3) afar_d=${TMPDIR:-/tmp}/afar-$afar_n ;;
  4) afar_d=/var/tmp/afar-$afar_n ;;
  5) afar_d=/dev/shm/afar-$afar_n ;;
  esac
  case $afar_d in
  /*) ;;
  *) return 1 ;;
  esac
}
afar_make() {
  case $1 in
  1 | 2) [ -d "$afar_d" ] || mkdir -p -m 700 "$afar_d" ;;
  *) mkdir -m 700 "$afar_d" && afar_own=$afar_d ;;
  esac
}

# Is the directory ours, and may programs in it be executed? A shell without -O uses those that we have just made. The
# probe has no #! line, so that it needs no other shell.
afar_usable() {
  [ "$afar_d" = "$afar_own" ] || [ -O "$afar_d" ] 2>/dev/null || { echo "$afar_d: belongs to somebody else"; return 1; }
  if [ ! -f "$afar_d/probe" ]; then
    if ! echo : >"$afar_d/probe.$afar_n"; then
      [ ! -f "$afar_d/probe.$afar_n" ] || { afar_full=1; afar_remove "$afar_d/probe.$afar_n"; }
      return 1
    fi
    chmod 700 "$afar_d/probe.$afar_n" && mv -f "$afar_d/probe.$afar_n" "$afar_d/probe" || return 1
  fi
  "$afar_d/probe" </dev/null >/dev/null 2>&1
  [ $? -lt 126 ] || { echo "$afar_d: programs in it cannot be executed"; return 1; }
}
# A host that lost its power may have left less than the image. ls knows the size; busybox' wc would read all of it.
afar_have() {
  [ -s "$afar_d/$afar_h" ] || return 1
  set -f
  set -- $(ls -ln "$afar_d/$afar_h" 2>/dev/null)
  set +f
  [ ${5:-$afar_r} -eq $afar_r ]
}

# Lock: 0 it is ours, or not needed any more; 1 not in this directory; 2 somebody else is uploading. A lock that is gone
# when we look at what kept us from making it was given back in between, so that one failure says nothing.
afar_take() {
  afar_lock=$afar_d/$afar_h.lock afar_y=
  [ -n "$afar_node" ] || afar_node=$(uname -n)
  afar_node=${afar_node:-unknown}
  until mkdir "$afar_lock" 2>/dev/null; do
    afar_have && return 0
    if [ -d "$afar_lock" ]; then
      afar_owner
      [ "$afar_who" = "$afar_stale" ] || { [ "$afar_host" = "$afar_node" ] && ! kill -0 "$afar_pid" 2>/dev/null; } || return 2
      [ "$afar_y" != yyy ] || return 2
      afar_break
    elif [ "$afar_y" = yyy ]; then
      echo "$afar_d: cannot be written to"
      return 1
    fi
    afar_y=y$afar_y
  done
  echo "$afar_node $$ $afar_n" >"$afar_lock/owner" && return 0
  afar_full=1 afar_who=none
  afar_break
  afar_lock=
  return 1
}
# Tells the caller whether the upload of somebody else has grown since it was asked last.
afar_busy() {
  afar_x=0
  if [ ! -f "$afar_lock/seen.$afar_n" ] || [ "$afar_lock/$afar_who" -nt "$afar_lock/seen.$afar_n" ]; then
    { echo >"$afar_lock/seen.$afar_n"; } 2>/dev/null
    afar_x=1
  fi
  afar_lock=
  afar_say busy "$afar_who" $afar_x
}

# Is there no room for 64 KiB more?
afar_isfull() {
  afar_x=0123456789abcdef
  afar_x=$afar_x$afar_x$afar_x$afar_x$afar_x$afar_x$afar_x$afar_x
  afar_x=$afar_x$afar_x$afar_x$afar_x$afar_x$afar_x$afar_x$afar_x
  afar_x=$afar_x$afar_x$afar_x$afar_x$afar_x$afar_x$afar_x$afar_x
  afar_x=$afar_x$afar_x$afar_x$afar_x$afar_x$afar_x$afar_x$afar_x
  { echo "$afar_x" >"$afar_lock/full"; } 2>/dev/null && return 1
  echo "$afar_d: no space left"
  afar_full=1
}
# The first head takes all that the caller sends, whatever becomes of it: when the disk is full, the next upload must
# not begin in the middle of this one. Without a tool that hashes, gzip's checksum must do; without gzip as well, the
# caller has to be there still, which shows that nothing was cut off.
afar_receive() {
  if command -v gzip >/dev/null 2>&1; then
    afar_say need gzip
    head -c "$afar_z" | (gzip -dc >"$afar_t"; afar_x=$?; head -c "$afar_z" >/dev/null; exit $afar_x)
  else
    afar_say need raw
    head -c "$afar_r" | (head -c "$afar_r" >"$afar_t"; afar_x=$?; head -c "$afar_r" >/dev/null; exit $afar_x)
  fi
}
afar_verify() {
  for afar_x in sha256sum "shasum -a 256" "openssl dgst -sha256" "sha256 -q"; do
    afar_x=$($afar_x <"$afar_t" 2>/dev/null)
    case $afar_x in
    "") ;;
    *"$afar_h"*) return 0 ;;
    *) return 1 ;;
    esac
  done
  command -v gzip >/dev/null 2>&1 && return 0
  afar_isfull && return 1
  afar_say sent
  read -r afar_x && [ "$afar_x" = go ] || { afar_undo; exit 1; }
}
# Upload: 0 the image is there, 1 not in this directory, 2 the lock was taken from us, for the caller was too slow.
afar_upload() {
  afar_t=$afar_lock/$afar_n
  afar_receive && afar_e=hash || afar_e=upload
  afar_owner
  [ "$afar_who" = "$afar_n" ] || return 2
  if [ $afar_e = upload ] || ! afar_verify; then
    if afar_isfull; then
      return 1
    fi
    afar_undo
    afar_say error $afar_e
    exit 1
  fi
  [ ! -d "$afar_d/$afar_h" ] || afar_remove "$afar_d/$afar_h"
  chmod 700 "$afar_t" && mv -f "$afar_t" "$afar_d/$afar_h" || [ -s "$afar_d/$afar_h" ]
}
afar_place() {
  afar_make $1 && afar_usable || return 1
  afar_take
  case $? in
  1) return 1 ;;
  2) return 2 ;;
  esac
  [ -z "$afar_fresh" ] && afar_have && afar_start have
  afar_upload && afar_start new
}

afar_start() {
  afar_unlock
  export AFAR_AGENT="$afar_n" AFAR_CACHE="$afar_d"
  trap - HUP INT PIPE TERM
  trap 'afar_undo; afar_say error start' EXIT
  afar_say start $1
  # bash runs no trap when exec fails, but can be told to go on; to the others that is an unknown command.
  shopt -s execfail 2>/dev/null
  exec "$afar_d/$afar_h" 2>&3 3>&-
  exit 1
}
afar_find() {
  for afar_i in 1 2; do
    [ -z "$afar_fresh" ] || break
    # An image that has run from there and was verified then needs no more than that to run again.
    afar_where $afar_i && [ -s "$afar_d/$afar_h.ran" ] && [ -f "$afar_d/$afar_h" ] && [ -x "$afar_d/$afar_h" ] && [ -O "$afar_d" ] 2>/dev/null && afar_start have
    afar_where $afar_i && afar_have && afar_usable && afar_start have
  done
  for afar_i in 1 2 3 4 5; do
    case $afar_skip in
    *$afar_i*) continue ;;
    esac
    afar_where $afar_i || continue
    afar_place $afar_i
    if [ $? = 2 ]; then
      afar_busy
      return
    fi
    afar_undo
    afar_skip=$afar_skip$afar_i
  done
  [ -z "$afar_full" ] && afar_say error directory || afar_say error space
  exit 1
}

afar_say hello $(uname -sm)
# "fresh" is an image that is not to be taken from the cache: what is there by its name does not run.
while read -r afar_w afar_h afar_z afar_r afar_stale; do
  case $afar_w in
  image) afar_fresh= ;;
  fresh) afar_fresh=1 ;;
  *) break ;;
  esac
  afar_find
done
afar_undo
exit 1
}
