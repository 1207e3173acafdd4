"""Check on Linux that every module can be imported without what macOS or Windows lacks."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

IMPORTED_ELSEWHERE = """
import importlib, os, pkgutil, select, signal, socket, sys, time, types

import flowport

NAMES = [found.name for found in pkgutil.walk_packages(flowport.__path__, "flowport.") if found.name != "flowport.__main__"]
for name in NAMES:  # what comes from others is loaded as it is on this machine
    importlib.import_module(name)

NOT_ON_WINDOWS = {
    os: "fork forkpty geteuid getuid getgid getegid getpgid setsid setuid setgid chown lchown fchown chroot mkfifo "
    "mknod killpg nice sysconf pathconf uname statvfs fstatvfs waitid wait3 wait4 set_blocking get_blocking pread pwrite readv "
    "writev sendfile posix_fallocate posix_fadvise sync fdatasync O_NOFOLLOW O_NONBLOCK O_DIRECTORY O_CLOEXEC O_SYNC "
    "O_DSYNC O_NOCTTY O_TMPFILE O_PATH pidfd_open prlimit sched_getaffinity getloadavg ttyname openpty WNOHANG",
    signal: "SIGKILL SIGHUP SIGQUIT SIGSTOP SIGCONT SIGTSTP SIGCHLD SIGPIPE SIGALRM SIGUSR1 SIGUSR2 SIGWINCH alarm pause "
    "setitimer pthread_sigmask pthread_kill sigwait siginterrupt",
    select: "poll epoll kqueue POLLIN POLLOUT POLLERR POLLHUP",
    socket: "AF_UNIX SO_REUSEPORT SCM_RIGHTS sendmsg recvmsg",
    time: "clock_gettime clock_settime clock_getres CLOCK_BOOTTIME CLOCK_MONOTONIC CLOCK_REALTIME tzset pthread_getcpuclockid",
}
NOT_ON_MACOS = {
    os: "waitid pidfd_open sched_getaffinity sched_setaffinity posix_fallocate posix_fadvise O_TMPFILE O_PATH memfd_create "
    "getrandom fdatasync setresuid setresgid eventfd splice copy_file_range",
    select: "epoll EPOLLIN EPOLLOUT",
    signal: "sigwaitinfo sigtimedwait SIGRTMIN SIGPWR",
    socket: "SO_PEERCRED AF_NETLINK AF_PACKET",
    time: "CLOCK_BOOTTIME pthread_getcpuclockid",
}
POSIX = "fcntl resource pwd grp termios tty pty syslog crypt nis spwd ossaudiodev readline curses _posixsubprocess posix".split()

platform = sys.argv[1]
for module, names in (NOT_ON_WINDOWS if platform == "win32" else NOT_ON_MACOS).items():
    for name in names.split():
        if hasattr(module, name):
            delattr(module, name)
if platform == "win32":
    for name in POSIX:
        sys.modules[name] = None  # an import of it fails as it does where it is not
    windows = types.ModuleType("msvcrt")
    windows.locking, windows.LK_NBLCK, windows.LK_UNLCK = None, 2, 0
    sys.modules["msvcrt"] = windows
else:
    for name in ("spwd", "ossaudiodev", "nis"):
        sys.modules[name] = None
sys.platform = platform

for name in [name for name in sys.modules if name.partition(".")[0] == "flowport"]:
    del sys.modules[name]
for name in ("flowport", *NAMES):
    importlib.import_module(name)
print(len(NAMES), "modules")
"""


@pytest.mark.parametrize("platform", ["win32", "darwin"])
def test_every_module_is_imported_without_what_another_system_lacks(platform: str) -> None:
    """A POSIX-only import or name would end Flowport on Windows without a message."""
    command = [sys.executable, "-c", IMPORTED_ELSEWHERE, platform]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[0]) > 150


def test_the_test_above_meets_what_windows_lacks(tmp_path: Path) -> None:
    """The simulation refuses a POSIX-only import and a missing name."""
    for text, error in (("import fcntl", "fcntl"), ("import signal\nsignal.SIGKILL", "SIGKILL")):
        (tmp_path / "flowport").mkdir(exist_ok=True)
        (tmp_path / "flowport/__init__.py").write_text("")
        (tmp_path / "flowport/posix_only.py").write_text(text)
        command = [sys.executable, "-c", IMPORTED_ELSEWHERE, "win32"]
        done = subprocess.run(command, cwd=tmp_path, check=False, capture_output=True, text=True)

        assert done.returncode != 0
        assert error in done.stderr.splitlines()[-1]
